//! How values and levels become nested JSON: the reverse of Dremel's record shredding (Melnik et al., 2010), after the rules
//! for lists and maps in Parquet's LogicalTypes.md.

use std::ops::Range;

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::value::Kind;
use super::{Damage, Holds};
use crate::data::{Fault, MAX_LINE};

/// Deepest nesting of a column; as deep as JSON may be in the other formats.
const MAX_DEPTH: usize = 100;
/// What a value counts besides its text: as much as it takes in memory, roughly.
const VALUE_BYTES: usize = 16;

/// Makes the plans of a file's columns, and notes which stored columns they need.
#[derive(Default)]
pub(super) struct Planner {
    /// Stored columns passed so far.
    passed: usize,
    /// Those that are to be read, in the order of the plans.
    pub needed: Vec<usize>,
}

/// How a column is put together.
#[derive(Debug)]
pub(super) struct Plan {
    shape: Shape,
    optional: bool,
    /// The definition level from which on it is there.
    level: i16,
    /// Its stored columns, among those that are read.
    stored: Range<usize>,
}

#[derive(Debug)]
enum Shape {
    /// A value, with the name to tell a person.
    Value(Kind, String),
    Struct(Vec<(String, Plan)>),
    List(Repeat, Box<Plan>),
    Map(Repeat, Box<(Plan, Plan)>),
}

/// The levels of a repetition: an element is there; and it goes on with the same list.
#[derive(Debug, Clone, Copy)]
struct Repeat {
    definition: i16,
    repetition: i16,
}

/// Where in the levels a field of the schema stands, and what its parents are called.
#[derive(Clone)]
struct Place {
    definition: i16,
    repetition: i16,
    depth: usize,
    name: String,
}

impl Place {
    fn inside(&self, field: &Type, named: bool) -> Self {
        let mut place = self.clone();
        place.depth += 1;
        if named {
            if !place.name.is_empty() {
                place.name.push('.');
            }
            place.name.push_str(field.name());
        }
        place
    }

    fn repeated(&self) -> (Self, Repeat) {
        let mut place = self.clone();
        place.definition += 1;
        place.repetition += 1;
        let repeat = Repeat {
            definition: place.definition,
            repetition: place.repetition,
        };
        (place, repeat)
    }
}

impl Planner {
    /// Passes over a column that is not wanted.
    pub fn pass(&mut self, column: &Type) {
        if column.is_primitive() {
            self.passed += 1;
        } else {
            for field in column.get_fields() {
                self.pass(field);
            }
        }
    }

    /// The plan of a column of the file, or what it holds that cannot be read.
    pub fn column(&mut self, column: &Type) -> Result<Plan, String> {
        let place = Place {
            definition: 0,
            repetition: 0,
            depth: 0,
            name: String::new(),
        };
        self.field(column, &place.inside(column, true))
    }

    fn field(&mut self, field: &Type, place: &Place) -> Result<Plan, String> {
        match repetition(field) {
            Repetition::REQUIRED => self.present(field, place),
            Repetition::OPTIONAL => {
                let mut place = place.clone();
                place.definition += 1;
                let mut plan = self.present(field, &place)?;
                plan.optional = true;
                Ok(plan)
            }
            // a list without a note that it is one
            Repetition::REPEATED => {
                let (inside, repeat) = place.repeated();
                let start = self.needed.len();
                let element = Box::new(self.present(field, &inside)?);
                Ok(self.plan(Shape::List(repeat, element), place, start))
            }
        }
    }

    /// The plan of a field where it is there.
    fn present(&mut self, field: &Type, place: &Place) -> Result<Plan, String> {
        if place.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels of nesting"));
        }
        let start = self.needed.len();
        if field.is_primitive() {
            let kind = Kind::of(field)?;
            self.needed.push(self.passed);
            self.passed += 1;
            return Ok(self.plan(Shape::Value(kind, place.name.clone()), place, start));
        }
        if field.get_fields().is_empty() {
            return Err("a struct without fields".to_owned());
        }
        let note = Note::of(field);
        let shape = match (note, field.get_fields()) {
            (Note::List, [group]) if repetition(group) == Repetition::REPEATED => {
                let (inside, repeat) = place.repeated();
                let element = match group.is_primitive() || is_element(group) {
                    true => self.present(group, &inside)?,
                    false => {
                        let element = &group.get_fields()[0];
                        self.field(element, &inside.inside(element, false))?
                    }
                };
                Shape::List(repeat, Box::new(element))
            }
            (Note::Map, [group]) if is_pair(group) => {
                let (inside, repeat) = place.repeated();
                let (key, value) = (&group.get_fields()[0], &group.get_fields()[1]);
                let key = self.field(key, &inside.inside(key, false))?;
                let value = self.field(value, &inside.inside(value, false))?;
                Shape::Map(repeat, Box::new((key, value)))
            }
            (_, fields) => {
                let mut plans = Vec::with_capacity(fields.len());
                for field in fields {
                    let plan = self.field(field, &place.inside(field, true))?;
                    plans.push((field.name().to_owned(), plan));
                }
                Shape::Struct(plans)
            }
        };
        Ok(self.plan(shape, place, start))
    }

    fn plan(&self, shape: Shape, place: &Place, start: usize) -> Plan {
        Plan {
            shape,
            optional: false,
            level: place.definition,
            stored: start..self.needed.len(),
        }
    }
}

/// What the schema says a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    List,
    Map,
    Struct,
}

impl Note {
    fn of(group: &Type) -> Self {
        let info = group.get_basic_info();
        match (info.logical_type_ref(), info.converted_type()) {
            (Some(LogicalType::List), _) | (None, ConvertedType::LIST) => Self::List,
            (Some(LogicalType::Map), _)
            | (None, ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE) => Self::Map,
            _ => Self::Struct,
        }
    }
}

fn repetition(field: &Type) -> Repetition {
    let info = field.get_basic_info();
    if info.has_repetition() {
        info.repetition()
    } else {
        Repetition::REQUIRED
    }
}

/// Whether the repeated group in a list is itself the element (as old writers had it), and not only a frame around it.
fn is_element(group: &Type) -> bool {
    match group.get_fields() {
        [only] => {
            Note::of(group) != Note::List
                && repetition(only) != Repetition::REPEATED
                && (group.name() == "array" || group.name().ends_with("_tuple"))
        }
        _ => true,
    }
}

fn is_pair(group: &Type) -> bool {
    group.is_group()
        && repetition(group) == Repetition::REPEATED
        && group.get_fields().len() == 2
        && group.get_fields()[0].is_primitive()
}

/// What was seen while a row was put together.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The first thing that is wrong with it.
    pub fault: Option<Fault>,
    bytes: usize,
}

impl Row {
    fn count(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let fits = self.bytes <= MAX_LINE;
        if !fits && self.fault.is_none() {
            let message = format!("the row has more than {MAX_LINE} bytes");
            self.fault = Some(
                Fault::new("line-too-long", message)
                    .help("split the record, or keep what is long in a corpus"),
            );
        }
        fits
    }

    /// Bytes of what was read of it.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

impl Plan {
    /// What the column holds.
    pub fn holds(&self) -> Holds {
        match &self.shape {
            Shape::Struct(_) | Shape::Map(..) => Holds::Objects,
            Shape::List(..) => Holds::Other("lists"),
            Shape::Value(Kind::Text | Kind::Uuid, _) => Holds::Texts,
            Shape::Value(Kind::Json, _) => Holds::Json,
            Shape::Value(Kind::Nothing, _) => Holds::Nothing,
            Shape::Value(kind, _) => Holds::Other(kind.noun()),
        }
    }

    /// The next value, from where the cursors stand. What is wrong with a value is noted in the row, and the cursors go on
    /// all the same; damage ends the reading.
    pub fn read(&self, cursors: &mut [Box<dyn Cursor>], row: &mut Row) -> Result<Value, Damage> {
        let first = &cursors[self.stored.start];
        if first.ended() {
            return Err(Damage::new("a column ends before the others"));
        }
        let level = first.definition();
        if self.optional && level < self.level {
            self.pass(cursors)?;
            return Ok(Value::Null);
        }
        match &self.shape {
            Shape::Value(kind, name) => {
                let cursor = &mut cursors[self.stored.start];
                let Some(raw) = cursor.value() else {
                    return Err(Damage::new(format!("a value of `{name}` is not there")));
                };
                let bytes = match raw {
                    super::cursor::Raw::Bytes(bytes) => bytes.len(),
                    _ => 0,
                };
                let value = if row.count(bytes + VALUE_BYTES) {
                    kind.json(raw, name).unwrap_or_else(|fault| {
                        row.note(fault);
                        Value::Null
                    })
                } else {
                    Value::Null
                };
                cursor.advance()?;
                Ok(value)
            }
            Shape::Struct(fields) => {
                let mut object = Map::new();
                for (name, plan) in fields {
                    object.insert(name.clone(), plan.read(cursors, row)?);
                }
                Ok(Value::Object(object))
            }
            Shape::List(repeat, element) => {
                let mut list = Vec::new();
                self.repeat(*repeat, cursors, row, |cursors, row| {
                    let value = element.read(cursors, row)?;
                    if row.count(VALUE_BYTES) {
                        list.push(value);
                    }
                    Ok(())
                })?;
                Ok(Value::Array(list))
            }
            Shape::Map(repeat, pair) => {
                let mut object = Map::new();
                self.repeat(*repeat, cursors, row, |cursors, row| {
                    let key = pair.0.read(cursors, row)?;
                    let value = pair.1.read(cursors, row)?;
                    let key = match key {
                        Value::String(key) => key,
                        Value::Number(_) | Value::Bool(_) => key.to_string(),
                        Value::Null | Value::Array(_) | Value::Object(_) => {
                            row.note(Fault::new("bad-value", "a key of a map is not a text"));
                            return Ok(());
                        }
                    };
                    if row.count(VALUE_BYTES) {
                        object.insert(key, value);
                    }
                    Ok(())
                })?;
                Ok(Value::Object(object))
            }
        }
    }

    /// Reads the elements of a list or map, of which there may be none.
    fn repeat(
        &self,
        repeat: Repeat,
        cursors: &mut [Box<dyn Cursor>],
        row: &mut Row,
        mut element: impl FnMut(&mut [Box<dyn Cursor>], &mut Row) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let first = self.stored.start;
        if cursors[first].definition() < repeat.definition {
            return self.pass(cursors);
        }
        loop {
            element(cursors, row)?;
            if cursors[first].ended() || cursors[first].repetition() < repeat.repetition {
                return Ok(());
            }
        }
    }

    /// Goes over one place where nothing is: every stored column has one entry for it.
    fn pass(&self, cursors: &mut [Box<dyn Cursor>]) -> Result<(), Damage> {
        cursors[self.stored.clone()]
            .iter_mut()
            .try_for_each(|cursor| cursor.advance())
    }
}
