//! `fapo schema`: what the two YAML files may hold, for editors. Both schemas are generated from the types that read the
//! files, so a program and its schemas never disagree.

use std::path::{Path, PathBuf};

use fapo_project::schema;

use super::Context;
use super::advice::Advice;
use super::args::{SchemaArgs, SchemaOf};
use crate::exit::Exit;
use crate::output::files;

impl SchemaOf {
    /// The name of its file.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Fapo => schema::PROJECT_FILE,
            Self::Pipeline => schema::PIPELINE_FILE,
        }
    }

    /// The text of its file.
    pub(super) fn text(self) -> String {
        schema::text(&match self {
            Self::Fapo => schema::project_schema(),
            Self::Pipeline => schema::pipeline_schema(),
        })
    }
}

pub fn run(context: &Context, args: &SchemaArgs) -> anyhow::Result<Exit> {
    let output = &context.output;
    let Some(folder) = &args.out else {
        // with --json or without: it is JSON
        let Some(wanted) = args.file else {
            return Ok(Exit::Usage);
        };
        output.data(&wanted.text())?;
        return Ok(Exit::Ok);
    };
    let wanted = match args.file {
        Some(one) => vec![one],
        None => vec![SchemaOf::Fapo, SchemaOf::Pipeline],
    };
    let written = write(folder, &wanted)?;
    if output.json {
        output.json(&serde_json::json!({"written": written}))?;
    } else {
        for path in written {
            output.note(&format!("{} is written", path.display()));
        }
    }
    Ok(Exit::Ok)
}

/// Writes schemas into a folder. They are generated, so older ones are replaced unasked.
fn write(folder: &Path, wanted: &[SchemaOf]) -> anyhow::Result<Vec<PathBuf>> {
    let texts: Vec<(PathBuf, String)> = wanted
        .iter()
        .map(|one| (folder.join(one.file()), one.text()))
        .collect();
    let targets: Vec<(PathBuf, &[u8])> = texts
        .iter()
        .map(|(path, text)| (path.clone(), text.as_bytes()))
        .collect();
    files::write_all(&targets).map_err(|source| {
        Advice::because(
            format!("cannot write the schemas into {}", folder.display()),
            "choose another folder with --out",
            source,
        )
    })?;
    Ok(targets.into_iter().map(|(path, _)| path).collect())
}
