//! From parser events to a value with positions.

use std::collections::{BTreeMap, HashMap};

use fapo_domain::problem::{Problem, Problems};
use saphyr::{Scalar, ScalarStyle};
use saphyr_parser::{Event, Parser, ScanError, Span, StrInput};
use serde_json::{Map, Number, Value};

use super::explain::explain;
use super::{Document, Entry, Place, item, join};
use crate::problems::{ProblemExt, error};

/// Nesting beyond this is refused: no project needs it, and what comes after recurses.
const MAX_DEPTH: usize = 48;
/// Values that aliases may add in all: enough for any honest use, and a bound for a bomb.
const MAX_ALIASED: usize = 10_000;

pub(super) fn read(file: &str, text: &str, problems: &mut Problems) -> Option<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        file,
        parser: Parser::new_from_str(text),
        places: BTreeMap::new(),
        anchors: HashMap::new(),
        aliased: 0,
        problems,
    };
    match builder.document() {
        Ok(value) => {
            let places = builder.places;
            Some(Document {
                file: file.to_owned(),
                value,
                places,
            })
        }
        Err(Stop::Scan(scan)) => {
            problems.push(explain(file, text, &scan));
            None
        }
        Err(Stop::Told) => None,
    }
}

/// Why reading stopped.
enum Stop {
    /// The parser cannot go on.
    Scan(ScanError),
    /// A problem that ends the reading has been noted.
    Told,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

struct Builder<'a> {
    file: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    places: BTreeMap<String, Entry>,
    anchors: HashMap<usize, Value>,
    aliased: usize,
    problems: &'a mut Problems,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Value, Stop> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if value.is_some() => {
                    return self.stop(
                        error("yaml-documents", self.file, "a second document starts here")
                            .help("keep one document in the file: remove the `---`"),
                        &span,
                    );
                }
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                event => value = Some(self.node(event, span, "", None, 0)?),
            }
        }
        Ok(value.unwrap_or(Value::Null))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stop<T>(&mut self, problem: Problem, span: &Span) -> Result<T, Stop> {
        self.tell(problem, span, "");
        Err(Stop::Told)
    }

    fn tell(&mut self, problem: Problem, span: &Span, path: &str) {
        let place = place(span);
        let mut problem = problem.at(Some(place.line), Some(place.column));
        problem.path = (!path.is_empty()).then(|| path.to_owned());
        self.problems.push(problem);
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        path: &str,
        key: Option<Place>,
        depth: usize,
    ) -> Result<Value, Stop> {
        if depth > MAX_DEPTH {
            return self.stop(
                error(
                    "yaml-depth",
                    self.file,
                    format!("nested more than {MAX_DEPTH} levels deep"),
                ),
                &span,
            );
        }
        self.places.insert(
            path.to_owned(),
            Entry {
                key,
                value: place(&span),
            },
        );
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &span, path);
                (anchor, value)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    let path = item(path, items.len());
                    items.push(self.node(event, span, &path, None, depth + 1)?);
                }
                (anchor, Value::Array(items))
            }
            Event::MappingStart(anchor, _) => (anchor, self.mapping(path, depth)?),
            Event::Alias(anchor) => return self.alias(anchor, &span),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                return self.stop(
                    error("yaml-syntax", self.file, "the document ends too early"),
                    &span,
                );
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn mapping(&mut self, path: &str, depth: usize) -> Result<Value, Stop> {
        let mut map = Map::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, _, _, _) => text.into_owned(),
                Event::MappingStart(..) => {
                    return self.stop(
                        error(
                            "yaml-braces",
                            self.file,
                            "a value that starts with `{{` is read as YAML's own braces",
                        )
                        .help("put the whole value in quotes: \"{{ ... }}\""),
                        &span,
                    );
                }
                _ => {
                    return self.stop(
                        error("yaml-key", self.file, "a key must be a plain text"),
                        &span,
                    );
                }
            };
            let at = place(&span);
            let child = join(path, &key);
            let (event, value_span) = self.next()?;
            if key == "<<" {
                self.tell(
                    error(
                        "yaml-merge",
                        self.file,
                        "merge keys (`<<`) are not supported",
                    )
                    .help("write the keys out"),
                    &span,
                    path,
                );
                self.node(
                    event,
                    value_span,
                    &format!("{child}#merge"),
                    Some(at),
                    depth + 1,
                )?;
                continue;
            }
            if map.contains_key(&key) {
                let first = self.places.get(&child).and_then(|entry| entry.key);
                self.tell(
                    error(
                        "duplicate-key",
                        self.file,
                        match first {
                            Some(first) => {
                                format!("`{key}` is already given in line {}", first.line)
                            }
                            None => format!("`{key}` is given twice"),
                        },
                    )
                    .help("keep one of them"),
                    &span,
                    &child,
                );
                // what is below it is read, for its own problems, beside the first one's places
                self.node(
                    event,
                    value_span,
                    &format!("{child}#again"),
                    Some(at),
                    depth + 1,
                )?;
                continue;
            }
            let value = self.node(event, value_span, &child, Some(at), depth + 1)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<Value, Stop> {
        let Some(value) = self.anchors.get(&anchor) else {
            return self.stop(
                error(
                    "yaml-anchor",
                    self.file,
                    "an alias inside what it stands for",
                )
                .help("write the value out"),
                span,
            );
        };
        self.aliased += count(value);
        if self.aliased > MAX_ALIASED {
            return self.stop(
                error(
                    "yaml-anchor",
                    self.file,
                    format!("aliases add more than {MAX_ALIASED} values"),
                )
                .help("write the values out"),
                span,
            );
        }
        Ok(value.clone())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&saphyr_parser::Tag>,
        span: &Span,
        path: &str,
    ) -> Value {
        let as_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if as_text || style != ScalarStyle::Plain {
            return Value::String(text.to_owned());
        }
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema()
        {
            let message = format!("the tag `{tag}` means nothing here");
            self.tell(
                error("yaml-tag", self.file, message).help("remove the tag"),
                span,
                path,
            );
        }
        if let Ok(number) = text.parse::<u64>() {
            return Value::from(number);
        }
        if text.is_empty() {
            return Value::Null;
        }
        match Scalar::parse_from_cow(text.into()) {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(value),
            Scalar::Integer(value) => Value::from(value),
            Scalar::FloatingPoint(value) => match Number::from_f64(value.into_inner()) {
                Some(number) => Value::Number(number),
                None => {
                    let message = format!("`{text}` is not a number that can be used here");
                    self.tell(error("yaml-number", self.file, message), span, path);
                    Value::Null
                }
            },
            Scalar::String(value) => Value::String(value.into_owned()),
        }
    }
}

fn place(span: &Span) -> Place {
    Place {
        line: span.start.line().max(1) as u64,
        column: span.start.col() as u64 + 1,
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
