//! `fapo export`: a variant as files, or as a patch.

use std::path::Path;

use fapo_domain::model::variant::VariantTree;
use fapo_domain::problem::Problems;

use super::advice::Advice;
use super::args::ExportArgs;
use super::find::Named;
use super::session::open_store;
use super::{Context, find};
use crate::exit::Exit;
use crate::output::{files, format};
use crate::project::read_tree;

pub async fn run(context: &Context, args: &ExportArgs) -> anyhow::Result<Exit> {
    if let Some(server) = args.server.named() {
        return super::remote::show::export(context, args, &server).await;
    }
    let ports = open_store(context, &args.dir).await?;
    let job = args.job.as_deref();
    let current = || Ok(read_tree(&args.dir, &mut Problems::new())?);
    let variant = find::variant(&ports, &args.variant, job, current).await?;
    let needs_baseline = args.patch.is_some() || args.variant == "best";
    let baseline = if needs_baseline {
        Some(find::variant(&ports, "baseline", job, current).await?)
    } else {
        None
    };
    write(context, args, &variant, baseline.as_ref())
}

/// Writes `variant` as `args` say; `baseline` is what a patch starts from, and what tells an improvement from none.
pub fn write(
    context: &Context,
    args: &ExportArgs,
    variant: &Named,
    baseline: Option<&Named>,
) -> anyhow::Result<Exit> {
    let written = match (&args.to, &args.patch, baseline) {
        (Some(folder), _, _) => {
            write_tree(folder, &variant.tree, args.force)?;
            folder
        }
        (None, Some(file), Some(baseline)) => {
            let patch = fapo_project::unified_diff(&baseline.tree, &variant.tree);
            write_patch(file, &patch, args.force)?;
            file
        }
        (None, _, _) => return Ok(Exit::Usage),
    };
    // asked for as an improvement, it would be taken for one
    let unchanged =
        args.variant == "best" && baseline.is_some_and(|baseline| baseline.id == variant.id);
    if context.output.json {
        context.output.json(&serde_json::json!({
            "variant": variant.id.to_string(), "written": written,
        }))?;
    } else {
        if unchanged {
            context.output.note(&format!(
                "{}: nothing was promoted, so the best is the baseline itself{}",
                context.output.notes.warn("warning"),
                if args.patch.is_some() {
                    ": the patch is empty"
                } else {
                    ""
                }
            ));
        }
        context.output.note(&format!(
            "{} ({}) is written to {}",
            args.variant,
            variant.id.short(),
            written.display()
        ));
    }
    Ok(Exit::Ok)
}

/// Writes a tree's files. A folder that holds anything is left alone unless forced; forced, its other files stay.
fn write_tree(folder: &Path, tree: &VariantTree, force: bool) -> anyhow::Result<()> {
    let failed = |source: std::io::Error| {
        Advice::because(
            format!("cannot write into {}", folder.display()),
            "choose another folder with --to",
            source,
        )
    };
    if !force && is_in_use(folder).map_err(failed)? {
        return Err(Advice::new(
            format!("{} is not empty", folder.display()),
            "choose another folder, or replace what is there with --force",
        )
        .into());
    }
    let mut files = Vec::new();
    for (path, content) in tree.iter() {
        // a stored tree holds plain relative paths; anything else must not leave the folder
        let safe = Path::new(path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !safe {
            return Err(Advice::new(
                format!("the variant holds a path that leaves its folder: {path:?}"),
                "the store may be damaged",
            )
            .into());
        }
        let content: &[u8] = content;
        files.push((folder.join(path), content));
    }
    Ok(files::write_all(&files).map_err(failed)?)
}

fn is_in_use(folder: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_patch(file: &Path, patch: &str, force: bool) -> anyhow::Result<()> {
    if file.exists() && !force {
        return Err(Advice::new(
            format!("{} exists already", file.display()),
            "choose another file, or replace it with --force",
        )
        .into());
    }
    files::write(file, patch.as_bytes()).map_err(|source| {
        let size = format::counted(patch.len() as u64, "byte");
        Advice::because(
            format!("cannot write {size} to {}", file.display()),
            "choose another file with --patch",
            source,
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> VariantTree {
        let mut tree = VariantTree::new();
        tree.insert("pipeline.yaml", b"steps: []\n".as_slice());
        tree.insert("prompts/answer.md", b"Answer.\n".as_slice());
        tree
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        write_tree(&target, &tree(), false).unwrap();
        assert_eq!(
            std::fs::read(target.join("prompts/answer.md")).unwrap(),
            b"Answer.\n"
        );
        let error = write_tree(&target, &tree(), false).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        write_tree(&target, &tree(), true).unwrap();
    }

    #[test]
    fn no_path_of_a_tree_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../escape", "/tmp/escape", "a/../../escape"] {
            let mut tree = VariantTree::new();
            tree.insert(path, b"x".as_slice());
            let error = write_tree(&dir.path().join("out"), &tree, true).unwrap_err();
            assert!(
                error.to_string().contains("leaves its folder"),
                "{path}: {error}"
            );
        }
        assert!(!dir.path().join("escape").exists());
    }

    #[test]
    fn a_patch_never_replaces_a_file_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.patch");
        std::fs::write(&file, "mine").unwrap();
        assert!(write_patch(&file, "theirs", false).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }
}
