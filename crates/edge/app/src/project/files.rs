//! The files that a project needs, and nothing else in its folder: what is uploaded to a server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fapo_diagnosis::prompts;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::problem::{Problem, Problems};
use fapo_project::read_project;

use super::cases::split_files;
use super::code::read_scorer_code;
use super::load::{LoadError, SETTINGS, not_utf8, problem, read, read_tree, unreadable};

/// A project's files, as they were when they were read: what is hashed is what is sent.
#[derive(Debug)]
pub struct ProjectFiles {
    /// `fapo.yaml`.
    pub spec: ProjectSpec,
    /// Contents, by path relative to the project folder with `/` between the parts.
    pub files: BTreeMap<String, Arc<[u8]>>,
}

/// Reads the files that the project in `dir` needs: `fapo.yaml`, `pipeline/`, data, corpora, worlds of simulated models, recorded
/// proposals, lists of protected cases, `scorers/` where a metric is code, the playbook and the project's own prompts. Prices are
/// left out: a server has its own. Nothing is checked but what is needed to find them: the server checks the project, with the
/// environment that it has.
///
/// # Errors
/// As [`super::load_project`]; a file that is missing or stands outside the folder is a problem.
pub fn project_files(dir: &Path) -> Result<ProjectFiles, LoadError> {
    let path = dir.join(SETTINGS);
    if !path.is_file() {
        return Err(LoadError::NoProject {
            dir: dir.display().to_string(),
        });
    }
    let settings = read(&path)?;
    let mut problems = Problems::new();
    let Ok(text) = std::str::from_utf8(&settings) else {
        problems.push(not_utf8(SETTINGS));
        return Err(LoadError::Problems(problems));
    };
    let (spec, found) = read_project(SETTINGS, text);
    problems.extend(found);
    let Some(spec) = spec else {
        return Err(LoadError::Problems(problems));
    };
    let mut files = BTreeMap::new();
    for (path, content) in read_tree(dir, &mut problems)?.iter() {
        files.insert(format!("pipeline/{path}"), Arc::clone(content));
    }
    for (path, text) in read_scorer_code(dir, &spec, &mut problems)? {
        files.insert(path, text.into_bytes().into());
    }
    for file in named(&spec) {
        add(dir, &file, &mut files, &mut problems)?;
    }
    for file in beside(dir)? {
        add(dir, &file, &mut files, &mut problems)?;
    }
    files.insert(SETTINGS.to_owned(), settings.into());
    if problems.has_errors() {
        problems.sort();
        return Err(LoadError::Problems(problems));
    }
    Ok(ProjectFiles { spec, files })
}

/// The files that fapo.yaml names.
fn named(spec: &ProjectSpec) -> Vec<String> {
    let data = split_files(spec).into_iter().map(|(_, file)| file);
    let corpora = spec.data.corpora.values().map(String::as_str);
    let worlds = spec
        .models
        .values()
        .filter_map(|model| model.world.as_deref());
    let recording = spec.proposer.recording.as_deref();
    let protect = spec.objective.protect.iter().map(String::as_str);
    data.chain(corpora)
        .chain(worlds)
        .chain(recording)
        .chain(protect)
        .map(str::to_owned)
        .collect()
}

/// The files that the text of a `fapo.yaml` names and that do not stand in its folder. A project on one's own disk may have such;
/// one that was submitted would name files of the server, whose lines would come back in problems and reports.
pub fn files_outside(settings: &str) -> Problems {
    // whatever else is wrong is said by who reads the project
    let (spec, _) = read_project(SETTINGS, settings);
    let named = spec.as_ref().map_or_else(Vec::new, named);
    let mut problems = Problems::new();
    for file in named.iter().filter(|file| plain_path(file).is_none()) {
        problems.push(outside(file));
    }
    problems
}

fn outside(file: &str) -> Problem {
    problem(
        "outside-folder",
        SETTINGS,
        format!("{file:?} is not inside the project folder"),
        "a project that is submitted has all its files in its folder: put it there",
    )
}

/// The files that count wherever they are there.
fn beside(dir: &Path) -> Result<Vec<String>, LoadError> {
    let mut found = Vec::new();
    if dir.join(PLAYBOOK).is_file() {
        found.push(PLAYBOOK.to_owned());
    }
    let folder = dir.join(prompts::FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(source) => return Err(unreadable(&folder, source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| unreadable(&folder, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // a name that is no prompt's goes along: the server says so
        if !name.starts_with('.') && entry.path().is_file() {
            found.push(format!("{}/{name}", prompts::FOLDER));
        }
    }
    Ok(found)
}

const PLAYBOOK: &str = "PLAYBOOK.md";

/// Reads one file under its plain path.
fn add(
    dir: &Path,
    file: &str,
    files: &mut BTreeMap<String, Arc<[u8]>>,
    problems: &mut Problems,
) -> Result<(), LoadError> {
    let Some(plain) = plain_path(file) else {
        problems.push(outside(file));
        return Ok(());
    };
    if files.contains_key(&plain) {
        return Ok(());
    }
    let path = dir.join(&plain);
    if !path.is_file() {
        problems.push(problem(
            "missing-file",
            SETTINGS,
            format!("there is no file {file}"),
            "paths are relative to the project folder",
        ));
        return Ok(());
    }
    files.insert(plain, read(&path)?.into());
    Ok(())
}

/// A relative path without `.` parts; `None` where it could lead out of the folder.
fn plain_path(file: &str) -> Option<String> {
    let parts: Vec<&str> = file
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let leaves = file.starts_with('/') || file.contains('\\') || parts.contains(&"..");
    (!leaves && !parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../examples")
            .join(name)
    }

    #[test]
    fn exactly_what_a_project_needs_is_sent() {
        let files = project_files(&example("missing-hop")).unwrap();
        let paths: Vec<&str> = files.files.keys().map(String::as_str).collect();
        for wanted in ["fapo.yaml", "sim.json", "pipeline/pipeline.yaml"] {
            assert!(paths.contains(&wanted), "{wanted} in {paths:?}");
        }
        let unwanted = |path: &&str| path.starts_with(".fapo") || path.starts_with("README");
        assert!(!paths.iter().any(unwanted), "{paths:?}");
        assert_eq!(files.spec.name, "missing-hop");
    }

    #[test]
    fn what_lies_about_in_the_folder_stays_there() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "fapo.yaml",
            "name: x\nmodels: {task: {provider: openai, model: m}}\ndata: {train: ./data//t.jsonl}\nscorer: {metric: exact_match, expected: answer}\nobjective: {protect: [must.txt]}\n",
        );
        write("data/t.jsonl", "{}\n");
        write("must.txt", "c1\n");
        write("pipeline/pipeline.yaml", "steps: []\n");
        write("agents/anything.md", "x");
        write("PLAYBOOK.md", "x");
        for unwanted in [
            ".fapo/fapo.db",
            ".env",
            "notes.txt",
            "prices.toml",
            "scorers/s.py",
            "agents/.swp",
        ] {
            write(unwanted, "secret");
        }
        let files = project_files(dir.path()).unwrap().files;
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "PLAYBOOK.md",
                "agents/anything.md",
                "data/t.jsonl",
                "fapo.yaml",
                "must.txt",
                "pipeline/pipeline.yaml"
            ]
        );
    }

    #[test]
    fn a_path_is_plain_or_leaves_the_folder() {
        assert_eq!(
            plain_path("./data//t.jsonl").as_deref(),
            Some("data/t.jsonl")
        );
        for leaving in ["/etc/passwd", "../t.jsonl", "a/../../t", "a\\b", "", "."] {
            assert_eq!(plain_path(leaving), None, "{leaving}");
        }
    }
}
