//! The Python files of a variant: what can be said about them without Python, and what a step's workers are given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fapo_domain::model::pipeline::PythonStep;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::code::CodeUnit;
use fapo_domain::problem::{Problem, Problems};

use super::plan::Planner;
use super::{PIPELINE_FILE, PlannedStep, shown};
use crate::problems::{ProblemExt, error, suggestion, warning};
use crate::python::{Source, is_identifier};

/// The files that `python` steps name.
pub(super) struct Code<'a> {
    tree: &'a VariantTree,
    named: BTreeSet<String>,
}

/// Whether a path is that of a code file in the folder for it.
pub(crate) fn is_step_code(path: &str) -> bool {
    path.starts_with(PythonStep::FOLDER) && path.ends_with(".py")
}

impl<'a> Code<'a> {
    pub const fn new(tree: &'a VariantTree) -> Self {
        Self {
            tree,
            named: BTreeSet::new(),
        }
    }

    /// What is wrong with the code files that can be run: those that steps name, and those that these may import.
    pub fn check(&self, problems: &mut Problems) {
        if self.named.is_empty() {
            return;
        }
        for (path, content) in self.tree.iter().filter(|(path, _)| is_step_code(path)) {
            let Ok(text) = std::str::from_utf8(content) else {
                problems.push(
                    error("not-text", &shown(path), "not UTF-8 text")
                        .help("save the file as UTF-8"),
                );
                continue;
            };
            if let Some(fault) = Source::read(text).fault {
                problems.push(
                    error("bad-code", &shown(path), fault.message).at(Some(fault.line), None),
                );
            }
        }
    }

    /// Warns of code files that no step runs or imports.
    pub fn warn_of_unused(&self, problems: &mut Problems) {
        let mut used = BTreeSet::new();
        for file in &self.named {
            used.extend(reached(self.tree, file));
        }
        for (path, _) in self.tree.iter() {
            if is_step_code(path) && !used.contains(path) {
                problems.push(
                    warning("unused-file", &shown(path), "no step runs this code")
                        .help("remove it, or name it in the `file` of a `python` step"),
                );
            }
        }
    }
}

impl Planner<'_> {
    pub(super) fn python(&mut self, step: &PythonStep, path: &str, planned: &mut PlannedStep) {
        let at = format!("{path}.file");
        let file = &step.file;
        if !is_step_code(file) {
            self.tell_of_code(
                "code-file",
                format!("`{file}` is not a code file: those are `steps/<name>.py`"),
                &at,
                file.strip_prefix("pipeline/")
                    .filter(|inner| is_step_code(inner))
                    .map(|inner| format!("paths start inside `pipeline/`: write `{inner}`"))
                    .or_else(|| Some("put the file into `pipeline/steps/`".to_owned())),
            );
            return;
        }
        let tree = self.code.tree;
        let Some(content) = tree.get(file) else {
            let names = tree.iter().map(|(name, _)| name);
            let code: Vec<&str> = names.filter(|name| is_step_code(name)).collect();
            let help = suggestion(file, code, "code files there are")
                .unwrap_or_else(|| format!("write the code to `{}`", shown(file)));
            let message = format!("there is no file `{}`", shown(file));
            return self.tell_of_code("missing-file", message, &at, Some(help));
        };
        self.code.named.insert(file.clone());
        if let Ok(text) = std::str::from_utf8(content) {
            self.function(step, text, path);
        }
        planned.code = Some(Arc::new(unit(tree, step)));
    }

    fn function(&mut self, step: &PythonStep, text: &str, path: &str) {
        let function = &step.function;
        let key = format!("{path}.function");
        let at = match self.document.value_place(&key) {
            Some(_) => key,
            None => format!("{path}.file"),
        };
        let source = Source::read(text);
        let (message, help) = if !is_identifier(function) {
            (format!("`{function}` cannot be a function's name"), None)
        } else if source.is_async(function) {
            (
                format!("`{function}` in `{}` is async", shown(&step.file)),
                Some(format!(
                    "write `def {function}(inputs):`; a step has nothing to wait for"
                )),
            )
        } else if !source.defines(function) && source.fault.is_none() {
            (
                format!("`{}` has no function `{function}`", shown(&step.file)),
                Some(format!("write `def {function}(inputs):` at its top level")),
            )
        } else {
            return;
        };
        self.tell_of_code("code-function", message, &at, help);
    }

    fn tell_of_code(
        &mut self,
        rule: &'static str,
        message: String,
        path: &str,
        help: Option<String>,
    ) {
        let mut problem: Problem = error(rule, &shown(PIPELINE_FILE), message);
        if let Some(help) = help {
            problem = problem.help(help);
        }
        self.problems.push(self.document.at_value(problem, path));
    }
}

/// What the workers of a step are given: its function, with all code of the variant.
fn unit(tree: &VariantTree, step: &PythonStep) -> CodeUnit {
    let files: BTreeMap<String, Arc<[u8]>> = tree
        .iter()
        .filter(|(path, _)| is_step_code(path))
        .map(|(path, content)| (path.to_owned(), Arc::clone(content)))
        .collect();
    CodeUnit::new(
        &step.file,
        &step.function,
        files,
        u64::from(step.memory_mb) << 20,
    )
}

/// A code file and those that it may import: the ones whose module it mentions, in a name or a text, and what these
/// mention in turn. Rather too many than too few.
pub(crate) fn reached<'t>(tree: &'t VariantTree, file: &str) -> BTreeSet<&'t str> {
    let all: Vec<(&str, &str)> = tree
        .iter()
        .filter(|(path, _)| is_step_code(path))
        .filter_map(|(path, _)| Some((path, tree.text(path)?)))
        .collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<&(&str, &str)> = all.iter().filter(|(path, _)| *path == file).collect();
    while let Some((path, text)) = open.pop() {
        if !reached.insert(*path) {
            continue;
        }
        let source = Source::read(text);
        let words = source.words();
        open.extend(all.iter().filter(|(other, _)| {
            let modules = other[PythonStep::FOLDER.len()..other.len() - 3].split('/');
            modules
                .filter(|module| *module != "__init__")
                .any(|module| words.contains(module))
        }));
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::super::tests::{project, tree};
    use super::super::{Pipeline, PipelineContext, read_pipeline};

    const STEPS: &str = "
output: clean.json.label
steps:
  - {id: find, kind: retrieve, query: '{{ question }}', k: 3}
  - {id: clean, kind: python, file: steps/clean.py, needs: [find], memory_mb: 100}
";

    fn read(files: &[(&str, &str)]) -> (Option<Pipeline>, String) {
        let (pipeline, problems) = read_pipeline(
            &tree(files),
            &PipelineContext {
                project: &project(),
                input_keys: None,
            },
        );
        (pipeline, problems.to_string())
    }

    #[test]
    fn a_code_step_is_planned_with_all_code_of_the_variant() {
        let (pipeline, problems) = read(&[
            ("pipeline.yaml", STEPS),
            (
                "steps/clean.py",
                "from words import LIST\ndef run(inputs): return {}\n",
            ),
            ("steps/words.py", "LIST = []\n"),
        ]);
        assert_eq!(problems, "");
        let pipeline = pipeline.unwrap();
        let step = pipeline.step("clean").unwrap();
        assert_eq!(step.needs, [0]);
        let unit = step.code.as_ref().unwrap();
        assert_eq!((&*unit.file, &*unit.function), ("steps/clean.py", "run"));
        let files: Vec<&str> = unit.files.keys().map(String::as_str).collect();
        assert_eq!(files, ["steps/clean.py", "steps/words.py"]);
        assert_eq!(unit.memory_bytes, 100 << 20);
        assert_eq!(pipeline.calls_per_case(), 0);
    }

    #[test]
    fn what_is_wrong_with_code_is_said_before_it_runs() {
        let good = "def run(inputs): return 'x'\n";
        let of = |file: &str| STEPS.replace("steps/clean.py", file);
        let named = of("steps/claen.py");
        let outside = of("pipeline/steps/clean.py");
        let prompt = of("prompts/clean.py");
        let function = STEPS.replace("memory_mb", "function: main, memory_mb");
        let table: [(&str, &str, &str); 7] = [
            (&named, good, "there is no file `pipeline/steps/claen.py`"),
            (&outside, good, "write `steps/clean.py`"),
            (&prompt, good, "those are `steps/<name>.py`"),
            (&function, good, "has no function `main`"),
            (STEPS, "async def run(inputs): return 'x'\n", "is async"),
            (
                STEPS,
                "def run(inputs):\n  return ('x'\n",
                "pipeline/steps/clean.py:2",
            ),
            (
                STEPS,
                "def walk(inputs): return 'x'\n",
                "`def run(inputs):`",
            ),
        ];
        for (pipeline, code, said) in table {
            let (read, problems) = read(&[("pipeline.yaml", pipeline), ("steps/clean.py", code)]);
            assert!(
                read.is_none() && problems.contains(said),
                "{said}: {problems}"
            );
        }
    }

    #[test]
    fn code_that_nothing_runs_is_pointed_out() {
        let (pipeline, problems) = read(&[
            ("pipeline.yaml", STEPS),
            (
                "steps/clean.py",
                "import words\ndef run(inputs): return {}\n",
            ),
            ("steps/words.py", "import more.deep\n"),
            ("steps/more/deep.py", ""),
            ("steps/old.py", ""),
        ]);
        assert!(pipeline.is_some());
        assert!(
            problems.contains("pipeline/steps/old.py") && problems.matches("no step").count() == 1,
            "{problems}"
        );
    }

    #[test]
    fn a_code_step_sees_and_gives_what_others_do() {
        let (pipeline, problems) = read(&[
            (
                "pipeline.yaml",
                "
output: best
steps:
  - {id: pick, kind: python, file: steps/pick.py}
  - {id: say, kind: template, template: '{{ steps.pick.docs | passages }} {{ steps.pick.json.x }} {{ steps.pick.text }}'}
  - id: best
    kind: sample
    n: 2
    steps:
      - {id: draft, kind: python, file: steps/pick.py, needs: [say]}
    combine: {method: best_by, check: {id: judge, kind: python, file: steps/pick.py, function: judge}}
",
            ),
            (
                "steps/pick.py",
                "def run(inputs): return {}\ndef judge(inputs): return '1'\n",
            ),
        ]);
        assert_eq!(problems, "");
        let pipeline = pipeline.unwrap();
        let sample = pipeline.step("best").unwrap();
        assert_eq!(sample.needs, [1], "what is inside needs it");
        let judge = sample.sample.as_ref().unwrap().check.as_ref().unwrap();
        assert_eq!(judge.code.as_ref().unwrap().function, "judge");
    }
}
