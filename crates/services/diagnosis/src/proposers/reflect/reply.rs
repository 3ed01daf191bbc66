//! Reads a model's reply and applies its edits.

use std::collections::BTreeSet;

use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::pipeline::PythonStep;
use fapo_domain::model::proposal::ProposalRequest;
use fapo_domain::model::variant::VariantTree;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::proposers::edit::{PIPELINE_FILE, put_text};
use crate::text::{cut, one_line, quote};

/// What a model answered. Only the edits are needed; the rest has a substitute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    hypothesis: String,
    technique: String,
    idea: String,
    target_cluster: Option<String>,
    /// Expected gain in points of the mean score.
    pub expected_gain: Option<f64>,
    edits: Vec<Edit>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Edit {
    path: String,
    content: String,
}

impl Reply {
    /// Reads an object with `edits`. Those must be as asked for; of the rest, what cannot be used is left out.
    fn read(mut object: Map<String, Value>, edits: Value) -> Result<Self, String> {
        let edits = serde_json::from_value(edits).map_err(|error| {
            format!(
                "the reply is not what was asked for: {}",
                cut(&error.to_string(), 120)
            )
        })?;
        let expected_gain = match object.get("expected_gain") {
            Some(Value::Number(gain)) => gain.as_f64(),
            Some(Value::String(gain)) => gain.trim().parse().ok(),
            Some(_) | None => None,
        };
        let mut text = |name| match object.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        };
        Ok(Self {
            hypothesis: text("hypothesis").unwrap_or_default(),
            technique: text("technique").unwrap_or_default(),
            idea: text("idea").unwrap_or_default(),
            target_cluster: text("target_cluster"),
            expected_gain,
            edits,
        })
    }

    /// The technique it names, where that exists; else the level's plainest.
    pub fn technique(&self, level: Level) -> Technique {
        let named = self
            .technique
            .trim()
            .to_lowercase()
            .replace([' ', '-'], "_");
        serde_json::from_value(Value::String(named)).unwrap_or(match level {
            Level::Prompt => Technique::InstructionClarity,
            Level::Parameter => Technique::OtherParameter,
            Level::Structure => Technique::OtherStructure,
        })
    }

    /// The idea's name.
    pub fn idea(&self, technique: Technique) -> String {
        let name = if self.idea.trim().is_empty() {
            &self.hypothesis
        } else {
            &self.idea
        };
        format!("{technique}/{}", one_line(&name.to_lowercase(), 80))
    }

    /// The hypothesis, cut to a paragraph.
    pub fn hypothesis(&self) -> String {
        one_line(&self.hypothesis, 600)
    }

    /// The cluster it names where that exists, else the one it was asked to work on.
    pub fn cluster(&self, request: &ProposalRequest) -> Option<String> {
        self.target_cluster
            .clone()
            .filter(|named| {
                request
                    .attribution
                    .clusters
                    .iter()
                    .any(|cluster| cluster.id == *named)
            })
            .or_else(|| request.cluster.as_ref().map(|cluster| cluster.id.clone()))
    }
}

/// Finds the JSON object with the edits in a reply: as it is, in a code fence, or after words, which may hold braces of
/// their own. One whose edits are there goes before one whose list is empty.
pub fn parse(text: &str) -> Result<Reply, String> {
    let mut empty = None;
    let mut wrong = None;
    let mut unread: Option<serde_json::Error> = None;
    let mut other = false;
    for (start, _) in text.match_indices('{') {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
        let mut object: Map<String, Value> = match values.next() {
            Some(Ok(object)) => object,
            Some(Err(error)) => {
                // what ends too early says more than words that were never JSON
                let tells_more = |known: &serde_json::Error| error.is_eof() && !known.is_eof();
                if unread.as_ref().is_none_or(tells_more) {
                    unread = Some(error);
                }
                continue;
            }
            None => continue,
        };
        let Some(edits) = object.remove("edits") else {
            other = true;
            continue;
        };
        match Reply::read(object, edits) {
            Ok(reply) if reply.edits.is_empty() => empty = empty.or(Some(reply)),
            Ok(reply) => return Ok(reply),
            Err(reason) => wrong = wrong.or(Some(reason)),
        }
    }
    if let Some(reply) = empty {
        return Ok(reply);
    }
    Err(match (wrong, unread) {
        (Some(wrong), _) => wrong,
        (None, Some(error)) if error.is_eof() || !other => format!(
            "the reply's JSON cannot be read: {}",
            cut(&error.to_string(), 120)
        ),
        (None, _) if other => "the reply is not what was asked for: it has no `edits`".to_owned(),
        (None, _) => format!("the reply holds no JSON object: {}", quote(text)),
    })
}

/// The tree after the edits.
///
/// A file that exists may be replaced only where it was shown in full; a new one is allowed only at the structure level,
/// and only a prompt.
pub fn apply(
    reply: &Reply,
    request: &ProposalRequest,
    shown: &BTreeSet<String>,
) -> Result<VariantTree, String> {
    let mut tree = request.tree.clone();
    let mut changed = false;
    for edit in &reply.edits {
        let path = plain_path(&edit.path)?;
        let mut content = edit.content.replace("\r\n", "\n");
        if !content.ends_with('\n') {
            content.push('\n');
        }
        match request.tree.text(&path) {
            Some(before) if before.trim_end() == content.trim_end() => continue,
            Some(_) if !shown.contains(&path) => {
                return Err(format!(
                    "the reply replaces {}, which it was not shown",
                    quote(&path)
                ));
            }
            Some(_) => {}
            None if request.level == Level::Structure
                && (path.starts_with("prompts/") && path.ends_with(".md")
                    || path.starts_with(PythonStep::FOLDER) && path.ends_with(".py")) => {}
            None => {
                return Err(format!(
                    "the reply edits {}, which does not exist",
                    quote(&path)
                ));
            }
        }
        changed = true;
        put_text(&mut tree, &path, &content);
    }
    if changed {
        Ok(tree)
    } else {
        Err("the reply changes no file".to_owned())
    }
}

/// A path relative to `pipeline/`, without detours.
fn plain_path(path: &str) -> Result<String, String> {
    let bare = path.trim().trim_start_matches("./");
    let bare = if bare == PIPELINE_FILE {
        bare
    } else {
        bare.strip_prefix("pipeline/").unwrap_or(bare)
    };
    let odd = bare.is_empty()
        || bare.starts_with('/')
        || bare.contains('\\')
        || bare
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..");
    if odd {
        return Err(format!(
            "the reply edits {}, which is no path in the pipeline",
            quote(path)
        ));
    }
    Ok(bare.to_owned())
}
