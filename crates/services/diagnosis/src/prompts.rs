//! The prompts: what proposers, reviewer and failure reader are told, as files.
//!
//! Each prompt has a name, a default text (`prompts/NAME.md` of this crate) and, for a template, the names it may use. A
//! project replaces one with a file of its own, `agents/NAME.md` beside fapo.yaml; whoever reads the project puts those
//! texts into [`JobSpec::prompts`], where they are frozen with the job. What was used is known afterwards: every proposal and
//! review records a hash over the names and texts of its prompts.
//!
//! Texts called `*_system` are said as they stand; the others are templates.

use std::collections::BTreeMap;

use fapo_domain::hash::{ContentHash, Hasher};
use fapo_domain::model::job::JobSpec;
use fapo_project::template::TextTemplate;
use serde_json::Value;

/// The folder beside fapo.yaml with a project's own prompts.
pub const FOLDER: &str = "agents";

/// One prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    /// Its name: that of its file without `.md`.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    /// The text that ships with fapo.
    pub text: &'static str,
    /// The names that a template may use; `None` for a text that is said as it stands.
    pub variables: Option<&'static [&'static str]>,
    /// The names that a template must use, because nothing else brings them.
    pub required: &'static [&'static str],
}

macro_rules! prompt {
    ($name:literal, $about:literal) => {
        Prompt {
            name: $name,
            about: $about,
            text: include_str!(concat!("../prompts/", $name, ".md")),
            variables: None,
            required: &[],
        }
    };
    ($name:literal, $about:literal, [$($variable:literal),*], [$($required:literal),*]) => {
        Prompt {
            name: $name,
            about: $about,
            text: include_str!(concat!("../prompts/", $name, ".md")),
            variables: Some(&[$($variable),*]),
            required: &[$($required),*],
        }
    };
}

/// All prompts, by name.
pub const PROMPTS: &[Prompt] = &[
    prompt!(
        "level_parameter",
        "what a model may change at the level of parameters",
        ["models"],
        []
    ),
    prompt!(
        "level_prompt",
        "what a model may change at the level of prompts",
        ["models"],
        []
    ),
    prompt!(
        "level_structure",
        "what a model may change at the level of structure",
        ["models"],
        []
    ),
    prompt!(
        "proposer_again",
        "what a coding agent is told once where its proposal cannot go on",
        ["findings", "turns"],
        ["findings"]
    ),
    prompt!(
        "proposer_system",
        "what a coding agent that proposes is told for the whole session"
    ),
    prompt!(
        "proposer_user",
        "the task of a coding agent that proposes",
        [
            "evidence",
            "mark",
            "cluster",
            "direction",
            "level",
            "techniques",
            "strategy",
            "revision"
        ],
        ["evidence", "mark"]
    ),
    prompt!(
        "reader_batch",
        "what a coding agent that reads is told around several failures",
        ["failures"],
        ["failures"]
    ),
    prompt!(
        "reader_system",
        "what the reader of unclear failures is told"
    ),
    prompt!(
        "reader_user",
        "one failure for the reader",
        ["evidence", "mark", "steps", "rule", "step"],
        ["evidence", "mark", "steps"]
    ),
    prompt!("reflect_system", "what the model of `reflect` is told"),
    prompt!(
        "reflect_user",
        "the task of the model of `reflect`",
        [
            "evidence",
            "mark",
            "cluster",
            "direction",
            "level_rules",
            "techniques",
            "revision"
        ],
        ["evidence"]
    ),
    prompt!("reviewer_system", "what a reviewer is told"),
    prompt!(
        "reviewer_user",
        "one change for the reviewer",
        ["evidence", "mark", "tools"],
        ["evidence", "mark"]
    ),
];

/// The prompt of this name.
pub fn find(name: &str) -> Option<&'static Prompt> {
    PROMPTS.iter().find(|prompt| prompt.name == name)
}

/// The names of all prompts, for messages.
pub fn names() -> Vec<&'static str> {
    PROMPTS.iter().map(|prompt| prompt.name).collect()
}

impl Prompt {
    /// What is wrong with `text` in its place, in words; `None` where it can be used.
    pub fn problem_of(&self, text: &str) -> Option<String> {
        if text.trim().is_empty() {
            return Some("it is empty".to_owned());
        }
        let variables = self.variables?;
        let template = match TextTemplate::compile(self.name, text) {
            Ok(template) => template,
            Err(error) => return Some(error.to_string()),
        };
        let used = template.variables();
        let roots: Vec<&str> = used
            .iter()
            .filter_map(|path| path.first().map(String::as_str))
            .collect();
        if let Some(unknown) = roots.iter().find(|root| !variables.contains(root)) {
            return Some(format!(
                "`{unknown}` is not known here; known are: {}",
                variables.join(", ")
            ));
        }
        let absent = self.required.iter().find(|name| !roots.contains(name))?;
        Some(format!("it must use `{{{{ {absent} }}}}`"))
    }
}

/// A prompt that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the prompt `{name}` cannot be used: {message}")]
pub struct PromptError {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

/// The prompts of one job: a project's own where it has them.
#[derive(Debug, Clone, Copy)]
pub struct Prompts<'a> {
    own: &'a BTreeMap<String, String>,
}

impl<'a> Prompts<'a> {
    /// Those of a job.
    pub const fn of(spec: &'a JobSpec) -> Self {
        Self { own: &spec.prompts }
    }

    /// The text of a prompt; empty for a name that there is none of.
    pub fn text(&self, name: &str) -> &'a str {
        match self.own.get(name) {
            Some(own) => own,
            None => find(name).map_or("", |prompt| prompt.text),
        }
    }

    /// The text of a prompt that is said as it stands.
    pub fn said(&self, name: &str) -> String {
        self.text(name).trim_end().to_owned()
    }

    /// A template with its names filled in.
    ///
    /// # Errors
    /// One that cannot be read or rendered: a project's own.
    pub fn render(&self, name: &str, context: &Value) -> Result<String, PromptError> {
        TextTemplate::compile(name, self.text(name))
            .and_then(|template| template.render(context))
            .map_err(|error| PromptError {
                name: name.to_owned(),
                message: error.to_string(),
            })
    }

    /// The hash over these prompts, names and texts.
    pub fn hash(&self, names: &[&str]) -> ContentHash {
        let mut hasher = Hasher::new("prompts/v1");
        for name in names {
            hasher
                .part(name.as_bytes())
                .part(self.text(name).as_bytes());
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_and_every_default_can_be_used() {
        assert!(PROMPTS.is_sorted_by_key(|prompt| prompt.name));
        for prompt in PROMPTS {
            assert_eq!(prompt.problem_of(prompt.text), None, "{}", prompt.name);
        }
    }

    #[test]
    fn a_replacement_is_checked_against_the_names_it_may_and_must_use() {
        let prompt = find("reviewer_user").unwrap();
        let problem = |text: &str| prompt.problem_of(text).unwrap_or_default();
        assert!(problem(" \n").contains("empty"));
        assert!(problem("{{ evidence").contains("reviewer_user"));
        assert!(problem("{{ evidence }} {{ mark }} {{ secrets }}").contains("`secrets`"));
        assert!(problem("{{ evidence }}").contains("{{ mark }}"));
        assert_eq!(problem("{{ evidence }} {{ mark }}"), "");
        // a text that is said as it stands may hold anything
        let system = find("reviewer_system").unwrap();
        assert_eq!(system.problem_of("Keep every {{ name }}."), None);
    }

    #[test]
    fn a_jobs_own_text_goes_before_the_default_and_changes_the_hash() {
        let none = BTreeMap::new();
        let own = BTreeMap::from([("reviewer_system".to_owned(), "Be strict.".to_owned())]);
        let (default, replaced) = (Prompts { own: &none }, Prompts { own: &own });
        assert_eq!(replaced.said("reviewer_system"), "Be strict.");
        assert!(default.said("reviewer_system").len() > 200);
        let names = ["reviewer_system", "reviewer_user"];
        assert_ne!(default.hash(&names), replaced.hash(&names));
        assert_eq!(
            default.hash(&["reader_user"]),
            replaced.hash(&["reader_user"])
        );
    }
}
