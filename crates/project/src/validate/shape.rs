//! Shapes a schema by a document, so that it has no alternatives left.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::problem::Problems;
use serde_json::{Map, Value, json};

use super::phrase::describe;
use crate::problems::{ProblemExt, error, suggestion};
use crate::schema::{properties, resolve};
use crate::yaml::{Document, item, join};

/// A schema in the shape of one document.
pub(super) struct Shaped {
    /// The schema.
    pub schema: Value,
    /// Key paths by JSON pointer.
    paths: BTreeMap<String, String>,
    /// The keys an object may have, with what they are for, by JSON pointer.
    pub keys: BTreeMap<String, Map<String, Value>>,
    /// JSON pointers of what was refused already.
    pub refused: BTreeSet<String>,
}

impl Shaped {
    /// The key path of a JSON pointer.
    pub fn path(&self, pointer: &str) -> String {
        self.paths.get(pointer).cloned().unwrap_or_default()
    }
}

pub(super) fn shape(root: &Value, document: &Document, problems: &mut Problems) -> Shaped {
    let mut shaper = Shaper {
        root,
        document,
        problems,
        shaped: Shaped {
            schema: Value::Null,
            paths: BTreeMap::new(),
            keys: BTreeMap::new(),
            refused: BTreeSet::new(),
        },
    };
    let schema = shaper.shape(root, &document.value, "", "");
    shaper.shaped.schema = schema;
    shaper.shaped
}

struct Shaper<'a> {
    root: &'a Value,
    document: &'a Document,
    problems: &'a mut Problems,
    shaped: Shaped,
}

impl<'a> Shaper<'a> {
    fn shape(&mut self, schema: &'a Value, instance: &Value, pointer: &str, path: &str) -> Value {
        self.shaped
            .paths
            .insert(pointer.to_owned(), path.to_owned());
        let schema = resolve(self.root, schema);
        if let Some(branches) = branches(schema) {
            return self.choose(branches, instance, pointer, path);
        }
        match instance {
            Value::Object(map) => self.object(schema, map, pointer, path),
            Value::Array(items) => self.array(schema, items, pointer, path),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => leaf(schema),
        }
    }

    fn object(
        &mut self,
        schema: &'a Value,
        map: &Map<String, Value>,
        pointer: &str,
        path: &str,
    ) -> Value {
        let known = properties(schema);
        let others = schema
            .get("additionalProperties")
            .filter(|others| others.is_object());
        if known.is_none() && others.is_none() {
            return leaf(schema);
        }
        let mut shaped = Map::new();
        for (key, value) in map {
            let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
            let path = join(path, key);
            self.shaped.paths.insert(pointer.clone(), path.clone());
            if let Some(inner) = known.and_then(|known| known.get(key)).or(others) {
                shaped.insert(key.clone(), self.shape(inner, value, &pointer, &path));
            }
        }
        if let Some(known) = known {
            self.shaped.keys.insert(pointer.to_owned(), known.clone());
        }
        let mut object = json!({"type": "object", "properties": shaped});
        if let Some(required) = schema.get("required") {
            object["required"] = required.clone();
        }
        if known.is_some() && others.is_none() {
            object["additionalProperties"] = Value::Bool(false);
        }
        object
    }

    fn array(&mut self, schema: &'a Value, items: &[Value], pointer: &str, path: &str) -> Value {
        let mut copy = leaf(schema);
        let positional = schema.get("prefixItems").and_then(Value::as_array);
        let shaped: Vec<Value> = items
            .iter()
            .enumerate()
            .map(|(position, value)| {
                let pointer = format!("{pointer}/{position}");
                let path = item(path, position);
                let inner = positional
                    .and_then(|schemas| schemas.get(position))
                    .or_else(|| schema.get("items"));
                match inner {
                    Some(inner) => self.shape(inner, value, &pointer, &path),
                    None => {
                        self.shaped.paths.insert(pointer, path);
                        Value::Bool(true)
                    }
                }
            })
            .collect();
        if let Some(map) = copy.as_object_mut()
            && !shaped.is_empty()
        {
            map.insert("prefixItems".to_owned(), Value::Array(shaped));
        }
        copy
    }

    /// Takes the branch that the instance means.
    fn choose(
        &mut self,
        branches: &'a [Value],
        instance: &Value,
        pointer: &str,
        path: &str,
    ) -> Value {
        let branches: Vec<&Value> = branches
            .iter()
            .map(|branch| resolve(self.root, branch))
            .collect();
        let texts: Vec<&str> = branches
            .iter()
            .filter_map(|branch| branch.get("const")?.as_str())
            .collect();
        if texts.len() == branches.len() {
            return json!({"type": "string", "enum": texts});
        }
        if let Some(tag) = tag(&branches) {
            return self.tagged(&branches, tag, instance, pointer, path);
        }
        let nullable = branches.iter().any(|branch| has_type(branch, "null"));
        if nullable && instance.is_null() {
            return Value::Bool(true);
        }
        let fitting = branches
            .iter()
            .filter(|branch| !has_type(branch, "null"))
            .find(|branch| accepts(self.root, branch, instance));
        let Some(branch) = fitting.or_else(|| {
            // with one real branch its own error says most
            let mut real = branches.iter().filter(|branch| !has_type(branch, "null"));
            real.next().filter(|_| real.next().is_none())
        }) else {
            let types: BTreeSet<&str> = branches
                .iter()
                .flat_map(|branch| types(self.root, branch))
                .collect();
            return json!({"type": types});
        };
        self.shape(branch, instance, pointer, path)
    }

    fn tagged(
        &mut self,
        branches: &[&'a Value],
        tag: &str,
        instance: &Value,
        pointer: &str,
        path: &str,
    ) -> Value {
        let Value::Object(map) = instance else {
            return json!({"type": "object"});
        };
        let name_of = |branch: &&'a Value| branch["properties"][tag]["const"].as_str();
        let names: Vec<&str> = branches.iter().filter_map(name_of).collect();
        let file = &self.document.file;
        let problem = match map.get(tag) {
            None => {
                let problem = error("missing-key", file, format!("key `{tag}` is missing"))
                    .help(format!("`{tag}` is one of {}", listed(&names)));
                self.document.at_value(problem, path)
            }
            Some(Value::String(name)) => {
                let branch = branches
                    .iter()
                    .find(|branch| name_of(branch) == Some(name.as_str()));
                if let Some(branch) = branch {
                    return self.shape(branch, instance, pointer, path);
                }
                let planned = tag == "kind" && StepSpec::PLANNED_KINDS.contains(&name.as_str());
                let problem = if planned {
                    error(
                        "planned-kind",
                        file,
                        format!("steps of kind `{name}` are part of the format, but this version does not run them yet"),
                    )
                    .help(format!("kinds that run: {}", listed(&names)))
                } else {
                    let rule = if tag == "kind" {
                        "unknown-kind"
                    } else {
                        "unknown-value"
                    };
                    let problem = error(rule, file, format!("there is no {tag} `{name}`"));
                    let all = names.iter().copied();
                    match suggestion(name, all, &format!("{tag}s there are")) {
                        Some(help) => problem.help(help),
                        None => problem,
                    }
                };
                self.document.at_value(problem, &join(path, tag))
            }
            Some(other) => {
                let message = format!("expected a text, found {}", describe(other));
                let problem = error("wrong-type", file, message)
                    .help(format!("`{tag}` is one of {}", listed(&names)));
                self.document.at_value(problem, &join(path, tag))
            }
        };
        self.problems.push(problem);
        self.shaped.refused.insert(pointer.to_owned());
        Value::Bool(true)
    }
}

/// A schema without what it says of the parts of a value: references there lead out of the shaped schema.
fn leaf(schema: &Value) -> Value {
    let mut leaf = schema.clone();
    if let Some(map) = leaf.as_object_mut() {
        for key in [
            "properties",
            "additionalProperties",
            "required",
            "items",
            "prefixItems",
            "$defs",
        ] {
            map.shift_remove(key);
        }
    }
    leaf
}

fn branches(schema: &Value) -> Option<&[Value]> {
    schema
        .get("oneOf")
        .or_else(|| schema.get("anyOf"))?
        .as_array()
        .map(Vec::as_slice)
}

/// The key that tells the branches apart: a constant in each of them.
fn tag<'a>(branches: &[&'a Value]) -> Option<&'a str> {
    let first = properties(branches.first()?)?;
    first
        .iter()
        .find(|(key, _)| {
            branches
                .iter()
                .all(|branch| branch["properties"][key.as_str()].get("const").is_some())
        })
        .map(|(key, _)| key.as_str())
}

fn has_type(schema: &Value, name: &str) -> bool {
    schema.get("type").is_some_and(|found| found == name)
}

fn types<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a str> {
    let schema = resolve(root, schema);
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => branches(schema)
            .unwrap_or_default()
            .iter()
            .flat_map(|branch| types(root, branch))
            .collect(),
    }
}

fn accepts(root: &Value, schema: &Value, instance: &Value) -> bool {
    let name = match instance {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = types(root, schema);
    types.contains(&name) || (name == "number" && types.contains(&"integer"))
}

pub(super) fn listed(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
