//! A project folder on disk: reading it, checking its data, importing it into a store.

mod cases;
mod import;
mod load;

pub use cases::{CaseScan, scan_cases};
pub use import::{ImportError, Imported, import_project};
pub use load::{LoadError, LoadedProject, World, load_project, read_tree};
