//! The layers of a configuration, one over the other, each value with its origin.
//!
//! Every value that a layer sets is tried alone, over the defaults: so all that is wrong is found at once, each with its key and
//! the place where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use fapo_domain::problem::{Problem, Problems, Severity};
use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::env::Env;
use super::raw::RawConfig;

/// Every key with its default and its comment: the first layer.
pub const DEFAULTS: &str = include_str!("../../../../../deploy/config/default.toml");

/// What variables of a configuration begin with.
const PREFIX: &str = "FAPO__";
/// What stands between the parts of a key in a variable's name.
const BETWEEN: &str = "__";

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// In a variable of the environment.
    Variable(String),
    /// On the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value that the command line sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag, as messages name it.
    pub flag: String,
    /// The key, such as `store.pool`.
    pub key: String,
    /// The value's text.
    pub text: String,
}

/// What the layers give together.
#[derive(Debug, Clone)]
pub struct Layers {
    /// All values.
    pub values: Table,
    /// Where those were set that are no defaults, by key.
    origins: BTreeMap<String, Origin>,
    /// Everything that could not be used.
    pub problems: Problems,
}

impl Layers {
    /// The defaults alone.
    pub fn defaults() -> Self {
        Self {
            values: DEFAULTS
                .parse()
                .expect("the defaults are part of the program, and a test reads them"),
            origins: BTreeMap::new(),
            problems: Problems::new(),
        }
    }

    /// The defaults under `files` in order, the environment, and the command line's settings in order. What cannot be used is
    /// among the problems and is left out.
    pub fn read(files: &[PathBuf], env: &Env, settings: &[Setting]) -> Self {
        let mut layers = Self::defaults();
        for file in files {
            layers.add_file(file);
        }
        for (name, text) in env.with_prefix(PREFIX) {
            let key = name[PREFIX.len()..].to_lowercase().replace(BETWEEN, ".");
            layers.add_text(&key, text, Origin::Variable(name.to_owned()));
        }
        for setting in settings {
            let origin = Origin::Flag(setting.flag.clone());
            layers.add_text(&setting.key, &setting.text, origin);
        }
        layers
    }

    /// Where the value of `key` was set.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The configuration as it was written.
    pub fn raw(&self) -> RawConfig {
        RawConfig::deserialize(self.values.clone())
            .expect("each value was tried over the defaults, and they do not depend on each other")
    }

    /// Adds a problem of the value at `key`, at the place where that was set.
    pub fn complain(&mut self, key: &str, rule: &'static str, message: String, help: &str) {
        let problem = problem(&self.origin(key), key, rule, message, help);
        self.problems.push(problem);
    }

    fn add_file(&mut self, path: &Path) {
        let at = |line| Origin::File {
            path: path.to_owned(),
            line,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let mut found = problem(
                    &at(1),
                    "",
                    "unreadable",
                    format!("the file cannot be read: {error}"),
                    "--config names a TOML file; the defaults need none",
                );
                found.line = None;
                self.problems.push(found);
                return;
            }
        };
        let (document, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            for error in errors {
                let line = error.span().map_or(1, |span| line_of(&text, span.start));
                let message = error.message().to_owned();
                self.problems
                    .push(problem(&at(line), "", "syntax", message, ""));
            }
            return;
        }
        self.add_table(document.get_ref(), "", &text, path);
    }

    fn add_table(&mut self, table: &DeTable<'_>, prefix: &str, text: &str, path: &Path) {
        for (name, value) in table {
            let key = join(prefix, name.get_ref());
            let origin = Origin::File {
                path: path.to_owned(),
                line: line_of(text, name.span().start),
            };
            match value.get_ref() {
                DeValue::Table(inner) if self.is_section(&key) => {
                    self.add_table(inner, &key, text, path);
                }
                _ => match read_value(value) {
                    Some(value) => self.set(&key, value, origin),
                    None => self.problems.push(problem(
                        &origin,
                        &key,
                        "wrong-type",
                        "the number is too large".to_owned(),
                        "",
                    )),
                },
            }
        }
    }

    /// Sets a value that came as text: it is read as what the default is.
    fn add_text(&mut self, key: &str, text: &str, origin: Origin) {
        let value = match find(&self.values, key) {
            Some(Value::Integer(_)) => text.trim().parse().ok().map(Value::Integer),
            Some(Value::Float(_)) => text.trim().parse().ok().map(Value::Float),
            Some(Value::Boolean(_)) => text.trim().parse().ok().map(Value::Boolean),
            Some(Value::Array(_)) => Some(Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(|part| Value::String(part.to_owned()))
                    .collect(),
            )),
            // an unknown key is told of below
            _ => Some(Value::String(text.to_owned())),
        };
        // what does not fit is tried as the text that it is, and told of in the same words as everywhere
        self.set(
            key,
            value.unwrap_or_else(|| Value::String(text.to_owned())),
            origin,
        );
    }

    /// Sets a value, if it can stand at its key.
    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        let Some(known) = find(&self.values, key) else {
            let help = self.nearest(key);
            let message = "there is no such key".to_owned();
            self.problems
                .push(problem(&origin, key, "unknown-key", message, &help));
            return;
        };
        if known.is_table() {
            self.problems.push(problem(
                &origin,
                key,
                "wrong-type",
                "this is a section, and has keys of its own".to_owned(),
                "`fapo config dump` lists all keys",
            ));
            return;
        }
        // a whole number is a number, too
        let value = match (known, value) {
            #[expect(clippy::cast_precision_loss, reason = "a part between 0 and 1")]
            (Value::Float(_), Value::Integer(number)) => Value::Float(number as f64),
            (_, value) => value,
        };
        let mut tried = Self::defaults().values;
        put(&mut tried, key, value.clone());
        match RawConfig::deserialize(tried) {
            Ok(_) => {
                put(&mut self.values, key, value);
                self.origins.insert(key.to_owned(), origin);
            }
            Err(error) => {
                let message = error.message().trim_end_matches('\n').to_owned();
                let help = "deploy/config/default.toml says what it may be";
                self.problems
                    .push(problem(&origin, key, "wrong-value", message, help));
            }
        }
    }

    fn is_section(&self, key: &str) -> bool {
        find(&self.values, key).is_some_and(Value::is_table)
    }

    /// What may have been meant.
    fn nearest(&self, key: &str) -> String {
        let likeness = |known: &str| similar::TextDiff::from_chars(key, known).ratio();
        let best = keys(&self.values)
            .into_iter()
            .map(|known| (likeness(&known), known))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((alike, known)) if alike > 0.7 => format!("did you mean `{known}`?"),
            _ => "`fapo config dump` lists all keys".to_owned(),
        }
    }
}

/// Every key of a table, sections before a dot.
pub fn keys(values: &Table) -> Vec<String> {
    let mut all = Vec::new();
    for (section, inner) in values {
        match inner {
            Value::Table(inner) => all.extend(inner.keys().map(|key| join(section, key))),
            _ => all.push(section.clone()),
        }
    }
    all
}

/// The value at a key.
pub fn find<'a>(values: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let mut value = values.get(parts.next()?)?;
    for part in parts {
        value = value.as_table()?.get(part)?;
    }
    Some(value)
}

/// Puts a value at a key that is there.
fn put(values: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            values.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            if let Some(Value::Table(inner)) = values.get_mut(section) {
                put(inner, rest, value);
            }
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// A parsed value; `None` for a number that no value can hold.
fn read_value(value: &Spanned<DeValue<'_>>) -> Option<Value> {
    Value::deserialize(toml::de::ValueDeserializer::from(value.clone())).ok()
}

fn line_of(text: &str, at: usize) -> u64 {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn problem(origin: &Origin, key: &str, rule: &'static str, message: String, help: &str) -> Problem {
    let (file, line) = match origin {
        Origin::File { path, line } => (path.display().to_string(), Some(*line)),
        other => (other.to_string(), None),
    };
    Problem {
        severity: Severity::Error,
        rule: rule.into(),
        file,
        line,
        column: None,
        path: Some(key.to_owned()).filter(|key| !key.is_empty()),
        message,
        help: Some(help.to_owned()).filter(|help| !help.is_empty()),
    }
}
