//! The code of a project's own scorers: the folder `scorers/` beside `fapo.yaml`.

use std::path::Path;

use fapo_domain::model::project::{MetricOptions, ProjectSpec};
use fapo_domain::problem::Problems;
use fapo_project::python::Source;
use fapo_project::scorer_functions;
use fapo_scoring::scorer::Code;

use super::load::{LoadError, problem, unreadable};

/// Reads every Python file of `scorers/`, where a metric is code; whatever it imports of the project is frozen with it.
///
/// # Errors
/// When a folder or file cannot be read.
pub(super) fn read_scorer_code(
    dir: &Path,
    spec: &ProjectSpec,
    problems: &mut Problems,
) -> Result<Code, LoadError> {
    let functions = scorer_functions(&spec.scorer);
    let mut code = Code::new();
    if functions.is_empty() {
        return Ok(code);
    }
    let mut folders = vec![dir.join(MetricOptions::CODE_FOLDER)];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        let entries = std::fs::read_dir(&folder).map_err(|source| unreadable(&folder, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| unreadable(&folder, source))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let kind = entry
                .file_type()
                .map_err(|source| unreadable(&path, source))?;
            if name.starts_with(['.', '_']) && kind.is_dir() {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if name.ends_with(".py") {
                let within = path.strip_prefix(dir).unwrap_or(&path);
                let relative = within.to_string_lossy().replace('\\', "/");
                let bytes = std::fs::read(&path).map_err(|source| unreadable(&path, source))?;
                match String::from_utf8(bytes) {
                    Ok(text) => {
                        code.insert(relative, text);
                    }
                    Err(_) => problems.push(problem(
                        "not-utf8",
                        &relative,
                        "the file is not UTF-8 text".to_owned(),
                        "save it as UTF-8",
                    )),
                }
            }
        }
    }
    check(&code, &functions, problems);
    Ok(code)
}

/// What can be said about the code without running it.
fn check(code: &Code, functions: &[(String, String)], problems: &mut Problems) {
    for (file, text) in code {
        if let Some(fault) = Source::read(text).fault {
            let mut found = problem("bad-code", file, fault.message, "mend it");
            found.line = Some(fault.line);
            problems.push(found);
        }
    }
    for (file, function) in functions {
        // a file that is not there is told of when the scorer is compiled
        let Some(text) = code.get(file) else { continue };
        let source = Source::read(text);
        if source.fault.is_none() && !source.defines(function) {
            problems.push(problem(
                "code-function",
                file,
                format!("there is no function `{function}` in it"),
                &format!("write `def {function}(run):` at its top level"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> (Code, Problems) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let spec = "name: x\nmodels: {task: {provider: openai, model: m}}\ndata: {train: t.jsonl}\nscorer: {metric: python, file: scorers/own.py}\n";
        let (spec, problems) = fapo_project::read_project("fapo.yaml", spec);
        let spec = spec.unwrap_or_else(|| panic!("{problems}"));
        let mut problems = Problems::new();
        let code = read_scorer_code(dir.path(), &spec, &mut problems).unwrap();
        (code, problems)
    }

    #[test]
    fn all_code_of_the_folder_is_read_and_nothing_else() {
        let (code, problems) = read(&[
            ("scorers/own.py", "import a.b\ndef score(run): return 1\n"),
            ("scorers/a/b.py", ""),
            ("scorers/notes.md", "x"),
            ("scorers/__pycache__/own.py", "x"),
            ("other.py", "x"),
        ]);
        assert!(problems.is_empty(), "{problems}");
        let files: Vec<&String> = code.keys().collect();
        assert_eq!(files, ["scorers/a/b.py", "scorers/own.py"]);
    }

    #[test]
    fn what_is_wrong_with_a_scorers_code_is_said_before_it_runs() {
        let said = |text: &str| read(&[("scorers/own.py", text)]).1.to_string();
        assert!(said("def mark(run): return 1\n").contains("no function `score`"));
        assert!(said("def score(run):\n  return (1\n").contains("scorers/own.py:2"));
        assert_eq!(said("from other import score\n"), "");
    }
}
