//! What looks like a placeholder and is plain text: other systems' ways of writing one.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::plan::Planner;
use super::shown;
use crate::problems::{ProblemExt, warning};

impl Planner<'_> {
    /// `${question}` and `{question}` look like placeholders and are plain text.
    pub fn warn_of_plain_placeholders(&mut self, file: &str, source: &str) {
        static PLAIN: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"\$\{([A-Za-z_][\w.]*)\}|(?:^|[^{$])\{([A-Za-z_][\w.]*)\}(?:[^}]|$)")
                .expect("a fixed pattern")
        });
        for found in PLAIN.captures_iter(source) {
            let (name, old) = match (found.get(1), found.get(2)) {
                (Some(name), _) => (name, true),
                (None, Some(name)) => (name, false),
                (None, None) => continue,
            };
            let known = |keys: &BTreeSet<String>| keys.contains(name.as_str());
            if !old && !self.ctx.input_keys.is_some_and(known) {
                continue;
            }
            let line = 1 + source[..name.start()].matches('\n').count() as u64;
            let text = name.as_str();
            let written = if old {
                format!("${{{text}}}")
            } else {
                format!("{{{text}}}")
            };
            let problem = warning(
                "plain-placeholder",
                &shown(file),
                format!("`{written}` is sent to the model as it stands"),
            )
            .help(format!("write `{{{{ {text} }}}}` to put the value in"))
            .at(Some(line), None);
            if !self.problems.iter().any(|known| *known == problem) {
                self.problems.push(problem);
            }
        }
    }
}
