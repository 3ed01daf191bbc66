//! Reads a project folder: `fapo.yaml` and the `pipeline/` tree, with the small files around them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::problem::{Problem, Problems, Severity};
use fapo_domain::{CaseId, ContentHash};
use fapo_project::{Pipeline, PipelineContext, check_without_project, read_pipeline, read_project};
use fapo_scoring::Scorer;
use fapo_scoring::scorer::Code;

use super::beside::{self, World};
use super::cases::{open_cases, split_files};
use super::code::read_scorer_code;
use super::scan::scan_what_can_be_read;

/// Folders and files below `pipeline/` that are never part of a variant.
const IGNORED: [&str; 4] = [".DS_Store", "__pycache__", ".git", "Thumbs.db"];

/// The project's own file.
pub(super) const SETTINGS: &str = "fapo.yaml";

/// How many cases are read to learn which input keys there are; all of them, where a template uses one that these lack.
const KEY_SAMPLE: usize = 200;

/// A project folder that can be run.
#[derive(Debug)]
pub struct LoadedProject {
    /// The folder.
    pub dir: PathBuf,
    /// `fapo.yaml`, with a hash of what each `${NAME}` in base URLs stands for.
    pub spec: ProjectSpec,
    /// The scorer in it, compiled.
    pub scorer: Scorer,
    /// The code in `scorers/`, where a metric is code.
    pub scorer_code: Code,
    /// `pipeline/`.
    pub tree: VariantTree,
    /// The pipeline in it.
    pub pipeline: Pipeline,
    /// `PLAYBOOK.md`, where there is one.
    pub playbook: Option<String>,
    /// The project's own prompts, by name.
    pub prompts: BTreeMap<String, String>,
    /// The cases that may not get worse.
    pub protect: Vec<CaseId>,
    /// The worlds of simulated models, by model entry.
    pub worlds: Vec<World>,
    /// Recorded proposals, for `proposer.backend: replay`.
    pub recording: Option<String>,
    /// Hash of `fapo.yaml` as it stands.
    pub spec_hash: ContentHash,
    /// Warnings; errors are a [`LoadError`].
    pub warnings: Problems,
}

impl LoadedProject {
    /// Whether running it runs code of its own: that of steps, or of its scorer.
    pub fn runs_code(&self) -> bool {
        self.pipeline.runs_code() || !self.scorer_code.is_empty()
    }
}

/// Why a project folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no project there.
    #[error("{dir} is not a project: it has no fapo.yaml (`fapo init {dir}` makes one)")]
    NoProject {
        /// The folder.
        dir: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The project has problems.
    #[error("the project has problems")]
    Problems(Problems),
}

/// Reads and checks everything but the data files: whoever uses them reads them whole anyway, and they may be large. Only
/// where there are problems already are they read here, so that the problems of all files come at once. `env` looks up
/// environment variables.
///
/// # Errors
/// [`LoadError::Problems`] holds every problem of every file, warnings included.
pub fn load_project(
    dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<LoadedProject, LoadError> {
    let path = dir.join(SETTINGS);
    if !path.is_file() {
        return Err(LoadError::NoProject {
            dir: dir.display().to_string(),
        });
    }
    let bytes = read(&path)?;
    let mut problems = Problems::new();
    let Ok(text) = String::from_utf8(bytes) else {
        problems.push(not_utf8(SETTINGS));
        return Err(LoadError::Problems(problems));
    };
    let (spec, found) = read_project(SETTINGS, &text);
    problems.extend(found);
    let tree = read_tree(dir, &mut problems)?;
    let Some(mut spec) = spec else {
        problems.extend(check_without_project(&tree));
        problems.sort();
        return Err(LoadError::Problems(problems));
    };

    let worlds = beside::resolve_models(dir, &mut spec, env, &mut problems);
    let read = |keys: Option<&BTreeSet<String>>| {
        let context = PipelineContext {
            project: &spec,
            input_keys: keys,
        };
        read_pipeline(&tree, &context)
    };
    let (mut pipeline, mut found) = read(input_keys(dir, &spec, KEY_SAMPLE).as_ref());
    if found
        .iter()
        .any(|problem| problem.rule == "unknown-variable")
    {
        // a key may be first used later in the file
        (pipeline, found) = read(input_keys(dir, &spec, usize::MAX).as_ref());
    }
    // what is wrong in fapo.yaml was left out of `spec`, and may be just what a step names
    let broken = problems.has_errors();
    for problem in found {
        if !(broken && matches!(&*problem.rule, "unknown-model" | "unknown-corpus")) {
            problems.push(problem);
        }
    }
    let scorer_code = read_scorer_code(dir, &spec, &mut problems)?;
    let scorer = compile_scorer(&spec, &scorer_code, &mut problems);
    let recording = beside::read_recording(dir, &spec, &mut problems);
    let protect = beside::read_protected(dir, &spec, &mut problems);
    let playbook = beside::read_playbook(dir, &mut problems);
    let prompts = beside::read_prompts(dir, &mut problems);
    beside::check_prices(dir, &mut problems);
    check_files_exist(dir, &spec, &mut problems);
    problems.sort();
    match (pipeline, scorer) {
        (Some(pipeline), Some(scorer)) if !problems.has_errors() => Ok(LoadedProject {
            dir: dir.to_owned(),
            playbook,
            prompts,
            spec_hash: ContentHash::of(text.as_bytes()),
            spec,
            scorer,
            scorer_code,
            tree,
            pipeline,
            protect,
            worlds,
            recording,
            warnings: problems,
        }),
        (_, scorer) => {
            problems.extend(scan_what_can_be_read(dir, &spec, scorer.as_ref()));
            Err(LoadError::Problems(problems))
        }
    }
}

/// Compiles the scorer, unless something about it is wrong already. What is refused only here is a problem like any other.
fn compile_scorer(spec: &ProjectSpec, code: &Code, problems: &mut Problems) -> Option<Scorer> {
    let told = problems.iter().any(|problem| {
        let about = problem.path.as_deref().unwrap_or_default();
        problem.severity == Severity::Error
            && problem.file == SETTINGS
            // a key that is missing is told of at what it is missing from
            && (about.is_empty() || about.starts_with("scorer") || about.starts_with("objective"))
    });
    if told {
        return None;
    }
    match Scorer::compile(&spec.scorer, &spec.objective, code) {
        Ok(scorer) => Some(scorer),
        Err(messages) => {
            for message in messages {
                let mut problem = problem("scorer", SETTINGS, message, "mend it in fapo.yaml");
                problem.path = Some("scorer".to_owned());
                problems.push(problem);
            }
            None
        }
    }
}

/// Reads `pipeline/`. Links and unreadable names are problems; what editors and systems leave behind is passed over.
///
/// # Errors
/// When a folder or file cannot be read.
pub fn read_tree(dir: &Path, problems: &mut Problems) -> Result<VariantTree, LoadError> {
    let root = dir.join("pipeline");
    let mut tree = VariantTree::new();
    if !root.is_dir() {
        problems.push(problem(
            "no-pipeline",
            "pipeline/pipeline.yaml",
            "there is no folder `pipeline` beside fapo.yaml".to_owned(),
            "put pipeline.yaml and the prompts there",
        ));
        return Ok(tree);
    }
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|source| unreadable(&folder, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| unreadable(&folder, source))?;
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                problems.push(problem(
                    "bad-file-name",
                    &path.display().to_string(),
                    "the file's name is not UTF-8".to_owned(),
                    "rename it",
                ));
                continue;
            };
            if IGNORED.contains(&name.as_str()) || name.ends_with('~') {
                continue;
            }
            let kind = entry
                .file_type()
                .map_err(|source| unreadable(&path, source))?;
            let relative = relative_name(&root, &path);
            if kind.is_symlink() {
                problems.push(problem(
                    "symlink",
                    &format!("pipeline/{relative}"),
                    "a variant cannot hold links".to_owned(),
                    "put the file itself there",
                ));
            } else if kind.is_dir() {
                folders.push(path);
            } else {
                tree.insert(relative, read(&path)?);
            }
        }
    }
    Ok(tree)
}

fn relative_name(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<String> = relative
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    parts.join("/")
}

/// The input keys of the first `count` train cases, with those of lines and headers that have something else wrong. Where
/// train has none, those of the next split; `None` when no file has any (the data check says why).
fn input_keys(dir: &Path, spec: &ProjectSpec, count: usize) -> Option<BTreeSet<String>> {
    split_files(spec).into_iter().find_map(|(split, file)| {
        let mut reader = open_cases(dir, split, file).ok()?;
        let mut keys = BTreeSet::new();
        for case in reader.by_ref().take(count).flatten() {
            keys.extend(case.case.input.keys().cloned());
        }
        keys.extend(reader.keys_without_cases());
        (!keys.is_empty()).then_some(keys)
    })
}

fn check_files_exist(dir: &Path, spec: &ProjectSpec, problems: &mut Problems) {
    let data = &spec.data;
    let splits = [
        ("data.train", Some(&data.train)),
        ("data.val", data.val.as_ref()),
        ("data.test", data.test.as_ref()),
    ];
    let corpora = data
        .corpora
        .iter()
        .map(|(name, file)| (format!("data.corpora.{name}"), file));
    let named = splits
        .into_iter()
        .filter_map(|(key, file)| Some((key.to_owned(), file?)))
        .chain(corpora);
    for (key, file) in named.filter(|(_, file)| !file.trim().is_empty()) {
        if !dir.join(file).is_file() {
            let mut missing = problem(
                "missing-file",
                SETTINGS,
                format!("there is no file {file}"),
                "paths are relative to the project folder",
            );
            missing.path = Some(key);
            problems.push(missing);
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| unreadable(path, source))
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> LoadError {
    LoadError::Read {
        path: path.display().to_string(),
        source,
    }
}

pub(super) fn not_utf8(file: &str) -> Problem {
    problem(
        "not-utf8",
        file,
        "the file is not UTF-8 text".to_owned(),
        "save it as UTF-8",
    )
}

pub(super) fn problem(rule: &'static str, file: &str, message: String, help: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        rule: rule.into(),
        file: file.to_owned(),
        line: None,
        column: None,
        path: None,
        message,
        help: Some(help.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project over these train lines, with one prompt and one file of protected ids.
    fn project(train: &str, prompt: &str, protect: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let spec = "name: x\nmodels: {task: {provider: openai, model: m}}\ndata: {train: train.jsonl}\nscorer: {metric: exact_match, expected: answer}\nobjective: {protect: [must.txt]}\n";
        std::fs::create_dir_all(dir.path().join("pipeline")).unwrap();
        for (name, text) in [
            ("fapo.yaml", spec),
            ("train.jsonl", train),
            ("must.txt", protect),
            ("pipeline/p.md", prompt),
            (
                "pipeline/pipeline.yaml",
                "steps:\n  - {id: a, kind: llm, prompt: p.md}\noutput: a\n",
            ),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn cases(count: usize) -> String {
        (0..count)
            .map(|number| {
                let hint = if number > KEY_SAMPLE { r#", "hint": "h""# } else { "" };
                format!(
                    "{{\"case_id\": \"c{number}\", \"input\": {{\"question\": \"q{number}\"{hint}}}, \"expected\": {{\"answer\": \"a\"}}}}\n"
                )
            })
            .collect()
    }

    #[test]
    fn a_key_that_only_later_cases_have_is_known() {
        let used = "{{ question }} {{ input.hint if 'hint' in input else '' }}";
        let dir = project(&cases(KEY_SAMPLE + 9), used, "");
        load_project(dir.path(), &|_| None).unwrap_or_else(|error| panic!("{error:?}"));
        let dir = project(&cases(KEY_SAMPLE + 9), "{{ question }} {{ hnit }}", "");
        let Err(LoadError::Problems(problems)) = load_project(dir.path(), &|_| None) else {
            panic!("`hnit` is in no case");
        };
        assert!(
            problems
                .iter()
                .any(|problem| problem.rule == "unknown-variable"
                    && problem.severity == Severity::Error),
            "{problems}"
        );
    }

    #[test]
    fn a_projects_own_prompts_are_read_and_those_of_other_names_are_problems() {
        let dir = project(&cases(3), "{{ question }}", "");
        let folder = dir.path().join("agents");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("reviewer_system.md"), "Be strict.\n").unwrap();
        std::fs::write(folder.join(".hidden"), "x").unwrap();
        let loaded = load_project(dir.path(), &|_| None).unwrap();
        assert_eq!(loaded.prompts["reviewer_system"], "Be strict.\n");
        assert_eq!(loaded.prompts.len(), 1);
        std::fs::write(folder.join("reviewer.md"), "x").unwrap();
        std::fs::write(folder.join("reader_user.md"), "{{ evidence }} {{ steps }}").unwrap();
        let Err(LoadError::Problems(problems)) = load_project(dir.path(), &|_| None) else {
            panic!("two of them cannot be used");
        };
        let text = problems.to_string();
        for part in [
            "agents/reviewer.md",
            "reviewer_system",
            "agents/reader_user.md",
            "{{ mark }}",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn protected_ids_are_those_that_are_no_comments() {
        let dir = project(&cases(3), "{{ question }}", "# must pass\nc1\n\n c2 \nc1\n");
        let project = load_project(dir.path(), &|_| None).unwrap();
        assert_eq!(project.protect, [CaseId::new("c1"), CaseId::new("c2")]);
        let scan = super::super::scan_data(&project);
        assert!(scan.problems.is_empty(), "{}", scan.problems);
    }

    #[test]
    fn a_protected_id_that_no_split_has_is_a_problem() {
        let dir = project(&cases(3), "{{ question }}", "c1\nc9\n");
        let mut project = load_project(dir.path(), &|_| None).unwrap();
        let scan = super::super::scan_data(&project);
        let told: Vec<&str> = scan.problems.iter().map(|problem| &*problem.rule).collect();
        assert_eq!(told, ["unknown-case"], "{}", scan.problems);
        assert!(scan.problems.to_string().contains("c9"));
        // where only the first cases are read, it may be among the others
        project.spec.data.max_cases = Some(2);
        let scan = super::super::scan_data(&project);
        assert!(scan.problems.is_empty(), "{}", scan.problems);
    }
}
