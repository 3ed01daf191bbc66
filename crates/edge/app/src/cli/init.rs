//! `fapo init`: a small project that works. Its data are those of the examples, its settings explain themselves.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use super::Context;
use super::advice::Advice;
use super::args::{InitArgs, InitProvider, SchemaOf, Template};
use crate::exit::Exit;
use crate::output::files;

const SIM_MODELS: &str = "  # the simulated model that ships with fapo: offline and free
  task: { provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }";

const OPENAI_MODELS: &str =
    "  # the key comes from OPENAI_API_KEY; another server: add base_url: http://host:port/v1
  task: { provider: openai, model: gpt-4.1-mini, temperature: 0.0, max_tokens: 256 }";

/// What a project keeps to itself.
const GITIGNORE: &str = ".fapo/\n";

/// Where a project keeps the schemas that its YAML files name. Not in `pipeline/`, whose content is a variant's identity,
/// and not in `.fapo/`, which no colleague gets.
const SCHEMAS: &str = "schema";

/// The steps.
const PIPELINE: &str = "pipeline/pipeline.yaml";

/// A template's files; `fapo.yaml` has places to fill in.
struct Files {
    settings: &'static str,
    pipeline: &'static str,
    world: &'static str,
    rest: &'static [(&'static str, &'static str)],
}

const QA: Files = Files {
    settings: include_str!("init/qa.yaml"),
    pipeline: include_str!("../../../../../examples/missing-hop/pipeline/pipeline.yaml"),
    world: include_str!("../../../../../examples/missing-hop/sim.json"),
    rest: &[
        (
            "pipeline/prompts/answer.md",
            include_str!("../../../../../examples/missing-hop/pipeline/prompts/answer.md"),
        ),
        (
            "data/corpus.jsonl",
            include_str!("../../../../../examples/missing-hop/data/corpus.jsonl"),
        ),
        (
            "data/train.jsonl",
            include_str!("../../../../../examples/missing-hop/data/train.jsonl"),
        ),
        (
            "data/val.jsonl",
            include_str!("../../../../../examples/missing-hop/data/val.jsonl"),
        ),
        (
            "data/test.jsonl",
            include_str!("../../../../../examples/missing-hop/data/test.jsonl"),
        ),
    ],
};

const CLASSIFY: Files = Files {
    settings: include_str!("init/classify.yaml"),
    pipeline: include_str!("../../../../../examples/answer-form/pipeline/pipeline.yaml"),
    world: include_str!("../../../../../examples/answer-form/sim.json"),
    rest: &[
        (
            "pipeline/prompts/classify.md",
            include_str!("../../../../../examples/answer-form/pipeline/prompts/classify.md"),
        ),
        (
            "data/train.jsonl",
            include_str!("../../../../../examples/answer-form/data/train.jsonl"),
        ),
        (
            "data/val.jsonl",
            include_str!("../../../../../examples/answer-form/data/val.jsonl"),
        ),
        (
            "data/test.jsonl",
            include_str!("../../../../../examples/answer-form/data/test.jsonl"),
        ),
    ],
};

pub fn run(context: &Context, args: &InitArgs) -> anyhow::Result<Exit> {
    let name = project_name(&args.dir);
    let written = write(&args.dir, &name, args.template, args.provider)?;
    let dir = args.dir.display();
    if context.output.json {
        context
            .output
            .json(&serde_json::json!({"dir": args.dir, "name": name, "files": written}))?;
    } else {
        context.output.data(&format!(
            "{name} is in {dir} ({} files)\n\n  fapo check {dir}      what it would cost\n  fapo eval {dir}       how good it is\n  fapo optimize {dir}   make it better",
            written.len()
        ))?;
    }
    Ok(Exit::Ok)
}

/// Writes a project into an empty or absent folder. Nothing that is there is ever replaced.
fn write(
    dir: &Path,
    name: &str,
    template: Template,
    provider: InitProvider,
) -> anyhow::Result<Vec<String>> {
    let failed = |source: io::Error| {
        Advice::because(
            format!("cannot write a project into {}", dir.display()),
            "choose a folder that you may write",
            source,
        )
    };
    match std::fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Advice::new(
                    format!("{} is not empty", dir.display()),
                    "choose a folder that is empty, or does not exist yet",
                )
                .into());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error).into()),
    }
    let files = match template {
        Template::Qa => QA,
        Template::Classify => CLASSIFY,
    };
    let models = match provider {
        InitProvider::Sim => SIM_MODELS,
        InitProvider::Openai => OPENAI_MODELS,
    };
    let settings = files
        .settings
        .replace("{{NAME}}", name)
        .replace("{{MODELS}}", models);
    let settings = schema_line("", SchemaOf::Fapo) + &settings;
    let pipeline = schema_line("../", SchemaOf::Pipeline) + files.pipeline;
    let mut all: Vec<(String, Cow<'_, str>)> = vec![
        ("fapo.yaml".to_owned(), settings.into()),
        (PIPELINE.to_owned(), pipeline.into()),
        (".gitignore".to_owned(), GITIGNORE.into()),
    ];
    for of in [SchemaOf::Fapo, SchemaOf::Pipeline] {
        all.push((schema_path(of), of.text().into()));
    }
    if provider == InitProvider::Sim {
        all.push(("sim.json".to_owned(), files.world.into()));
    }
    for (path, content) in files.rest {
        all.push(((*path).to_owned(), (*content).into()));
    }
    let targets: Vec<_> = all
        .iter()
        .map(|(path, content)| (dir.join(path), content.as_bytes()))
        .collect();
    // a folder with half a project could neither be used nor be written again
    files::write_all(&targets).map_err(failed)?;
    Ok(all.into_iter().map(|(path, _)| path).collect())
}

/// A schema's file, from the project's folder.
fn schema_path(of: SchemaOf) -> String {
    format!("{SCHEMAS}/{}", of.file())
}

/// The first line of a YAML file, which tells an editor where its schema is. `up` leads from the file's folder to the
/// project's.
fn schema_line(up: &str, of: SchemaOf) -> String {
    format!("# yaml-language-server: $schema={up}{}\n", schema_path(of))
}

/// The folder's name, made to fit the rules for names.
fn project_name(dir: &Path) -> String {
    let full = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name: String = full
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || matches!(character, '-' | '_') {
                character
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() {
        "my-project".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::load_project;

    #[test]
    fn every_template_is_a_project_without_problems() {
        for template in [Template::Qa, Template::Classify] {
            for provider in [InitProvider::Sim, InitProvider::Openai] {
                let dir = tempfile::tempdir().unwrap();
                let target = dir.path().join("my project");
                write(&target, &project_name(&target), template, provider).unwrap();
                let project = load_project(&target, &|_| None)
                    .unwrap_or_else(|error| panic!("{template:?} {provider:?}: {error:?}"));
                assert_eq!(project.spec.name, "my-project");
                assert!(project.warnings.is_empty(), "{}", project.warnings);
            }
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.txt"), "mine").unwrap();
        let error = write(dir.path(), "x", Template::Qa, InitProvider::Sim).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_is_made_from_any_folder() {
        assert_eq!(
            project_name(Path::new("/a/My Project (2)")),
            "My-Project--2"
        );
        assert_eq!(project_name(Path::new("/")), "my-project");
    }
}
