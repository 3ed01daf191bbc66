//! A project folder on disk: reading it, checking its data, importing it into a store.

#[cfg(test)]
mod agreement;
mod beside;
mod cases;
mod code;
mod documents;
mod files;
mod import;
mod load;
mod protect;
mod scan;

pub use beside::{World, expand, read_prompts as own_prompts, world_variable};
pub use files::{ProjectFiles, files_outside, project_files};
pub use import::{ImportError, Imported, import_project};
pub use load::{LoadError, LoadedProject, load_project, read_tree};
pub use scan::{DataScan, scan_data};
