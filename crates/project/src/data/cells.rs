//! From the columns of a Parquet file to cases and documents.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use fapo_domain::ids::CaseId;
use fapo_domain::model::case::{Case, Document};
use serde_json::{Map, Value};

use super::Fault;
use super::case::{Part, id, keys, missing, target};
use super::documents;
use super::table::{Column, Holds, Table};

/// A row's number, and what it gives.
type Item<T> = (u64, Result<T, Fault>);

/// Cases from rows.
pub(super) struct Cases {
    table: Table,
    /// What each column gives.
    targets: Vec<Target>,
    /// The place of `case_id`.
    name: usize,
}

/// What a column gives.
enum Target {
    Name,
    /// All keys of a part; and the column's name.
    Whole(Part, String),
    Key(Part, String),
    /// A key of the metadata, unless the metadata has it.
    Rest(String),
}

impl Cases {
    /// Cases of a file.
    pub fn open<R: Read + Seek + Send + 'static>(source: R) -> Result<Self, Fault> {
        let table = Table::open(source, &|name| !is_index(name))?;
        let (name, targets) = targets(table.columns())?;
        Ok(Self {
            table,
            targets,
            name,
        })
    }

    /// The next case.
    pub fn next_case(&mut self) -> Option<Item<Case>> {
        let (number, row) = self.table.next_row()?;
        let case = row.and_then(|values| case(&self.targets, self.name, values));
        Some((number, case))
    }
}

/// The row numbers that pandas writes beside the columns of a filtered frame, `__index_level_0__`: no part of the data.
fn is_index(name: &str) -> bool {
    name.strip_prefix("__index_level_")
        .and_then(|rest| rest.strip_suffix("__"))
        .is_some_and(|level| level.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The part that a column gives as a whole.
///
/// `context` is another name of `input` only where it can hold one, and no `input.<key>` stands beside it. Many tables have
/// a text of that name beside a question: as in CSV, it is a key of the input.
fn whole(column: &Column, columns: &[Column]) -> Option<Part> {
    match column.name.as_str() {
        "input" => Some(Part::Input),
        "expected" => Some(Part::Expected),
        "metadata" => Some(Part::Metadata),
        "context" => {
            let is_key = |other: &Column| {
                let (part, key) = target(&other.name);
                part == Part::Input && key != other.name
            };
            let can_be = matches!(column.holds, Holds::Objects | Holds::Json);
            (can_be && !columns.iter().any(is_key)).then_some(Part::Input)
        }
        _ => None,
    }
}

/// Which column has the name of a case, and what each gives.
fn targets(columns: &[Column]) -> Result<(usize, Vec<Target>), Fault> {
    let names = || columns.iter().map(|column| column.name.clone());
    let Some(name) = columns.iter().position(|column| column.name == "case_id") else {
        let names: Vec<String> = names().collect();
        let fault = missing("case_id", &names, "every case needs a name");
        return Err(fault.saying("there is no column `case_id`"));
    };
    texts(&columns[name])?;
    let whole_input = columns
        .iter()
        .any(|column| whole(column, columns) == Some(Part::Input));
    let mut targets = Vec::with_capacity(columns.len());
    // by part, and by key unless it is the whole part
    let mut seen: BTreeMap<(Part, Option<&str>), &str> = BTreeMap::new();
    for column in columns {
        let given = match (whole(column, columns), target(&column.name)) {
            (Some(part), _) => {
                objects(column)?;
                targets.push(Target::Whole(part, column.name.clone()));
                (part, None)
            }
            (None, (Part::Name, _)) => {
                targets.push(Target::Name);
                continue;
            }
            // beside an `input`, a `context` would be the input twice
            (None, (Part::Input, key)) if whole_input && key == column.name && key != "context" => {
                targets.push(Target::Rest(key.to_owned()));
                continue;
            }
            (None, (part, key)) => {
                targets.push(Target::Key(part, key.to_owned()));
                (part, Some(key))
            }
        };
        if let Some(other) = seen.insert(given, &column.name) {
            return Err(same(other, &column.name, "the same key"));
        }
    }
    for ((part, key), column) in &seen {
        let other = key.and_then(|_| seen.get(&(*part, None)));
        if let Some(other) = other {
            return Err(same(other, column, &format!("the {}", part.noun())));
        }
    }
    if !seen.keys().any(|(part, _)| *part == Part::Input) {
        let names: Vec<String> = names().collect();
        let fault = missing("input", &names, "it holds what the pipeline sees");
        return Err(fault.saying("there is no column `input`, and none that gives a key of it"));
    }
    Ok((name, targets))
}

fn same(one: &str, other: &str, what: &str) -> Fault {
    Fault::new(
        "bad-header",
        format!("columns `{one}` and `{other}` give {what}"),
    )
    .help("give a part as one struct column, or as columns `input.<key>`")
}

/// A column of names must hold texts: numbers would be refused row by row.
fn texts(column: &Column) -> Result<(), Fault> {
    match column.holds {
        Holds::Texts | Holds::Json | Holds::Nothing => Ok(()),
        Holds::Objects => Err(wrong(column, "objects", "texts", "cast it to text")),
        Holds::Other(what) => Err(wrong(column, what, "texts", "cast it to text")),
    }
}

/// A whole part must be objects; a text can be one that is written as JSON.
fn objects(column: &Column) -> Result<(), Fault> {
    match column.holds {
        Holds::Objects | Holds::Texts | Holds::Json | Holds::Nothing => Ok(()),
        Holds::Other(what) => Err(wrong(
            column,
            what,
            "objects",
            &format!("give it a key, by the name of `{}.<key>`", column.name),
        )),
    }
}

fn wrong(column: &Column, is: &str, must: &str, help: &str) -> Fault {
    Fault::new(
        "bad-header",
        format!("column `{}` holds {is}, and must hold {must}", column.name),
    )
    .help(help)
}

fn case(targets: &[Target], name: usize, values: Vec<Value>) -> Result<Case, Fault> {
    let case_id = row_id("case_id", values.get(name).unwrap_or(&Value::Null))?;
    let mut case = Case {
        case_id: CaseId::new(&case_id),
        input: Map::new(),
        expected: Map::new(),
        metadata: Map::new(),
    };
    let mut rest = Vec::new();
    for (target, value) in targets.iter().zip(values) {
        match target {
            Target::Name => {}
            Target::Rest(key) => rest.push((key, value)),
            Target::Key(part, key) => {
                keys_of(&mut case, *part).insert(key.clone(), value);
            }
            // as in JSONL, only the input must be there
            Target::Whole(Part::Expected | Part::Metadata, _) if value.is_null() => {}
            Target::Whole(part, column) => {
                let object = keys(column, parsed(value), &case_id)?;
                *keys_of(&mut case, *part) = object;
            }
        }
    }
    for (key, value) in rest {
        case.metadata.entry(key.clone()).or_insert(value);
    }
    Ok(case)
}

fn keys_of(case: &mut Case, part: Part) -> &mut Map<String, Value> {
    match part {
        Part::Expected => &mut case.expected,
        Part::Metadata => &mut case.metadata,
        Part::Input | Part::Name => &mut case.input,
    }
}

/// An object that is written as text; any other value as it is.
fn parsed(value: Value) -> Value {
    match &value {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Value::Object(object),
            Ok(_) | Err(_) => value,
        },
        _ => value,
    }
}

fn row_id(key: &str, value: &Value) -> Result<String, Fault> {
    if value.is_null() {
        let fault = Fault::new("missing-key", format!("`{key}` is null"));
        return Err(fault.help("every record needs a name of its own"));
    }
    id(key, value)
}

/// Documents from rows.
pub(super) struct Documents {
    table: Table,
}

/// The columns of a document; any other is not read at all.
const DOCUMENT: [&str; 3] = ["doc_id", "title", "text"];

impl Documents {
    /// Documents of a file.
    pub fn open<R: Read + Seek + Send + 'static>(source: R) -> Result<Self, Fault> {
        let table = Table::open(source, &|name| DOCUMENT.contains(&name))?;
        documents::check_columns(&table.names())?;
        table.columns().iter().try_for_each(texts)?;
        Ok(Self { table })
    }

    /// The next document.
    pub fn next_document(&mut self) -> Option<Item<Document>> {
        let (number, row) = self.table.next_row()?;
        let document = row.and_then(|values| {
            let names = self.table.columns().iter();
            let object: Map<String, Value> = names
                .map(|column| column.name.clone())
                .zip(values)
                .collect();
            row_id("doc_id", object.get("doc_id").unwrap_or(&Value::Null))?;
            documents::from_object(object)
        });
        Some((number, document))
    }
}
