//! The one configuration of the template engine.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior};

use super::context::write_passages;

/// Fuel of one render: about so many instructions, or 64 times as many bytes of text made or read. A prompt of a million
/// tokens takes less than a tenth of it.
pub(super) const FUEL: u64 = 1_000_000;

/// Conditions are compiled against it directly; text templates take a copy, which shares filters, tests and globals.
pub(super) static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    engine.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the default delimiters are distinct"),
    );
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_formatter(|out, state, value| match value.kind() {
        ValueKind::None => Ok(()),
        ValueKind::Bool => out
            .write_str(if value.is_true() { "true" } else { "false" })
            .map_err(Error::from),
        ValueKind::Seq | ValueKind::Map if !super::context::prints_itself(value) => out
            .write_str(&json_text(state, value, false)?)
            .map_err(Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    });
    engine.set_fuel(Some(FUEL));
    // names the missing variable in errors; costs nothing while nothing is missing
    engine.set_debug(true);
    engine.remove_global("debug");
    engine.add_filter("passages", passages);
    engine.add_filter("tojson", to_json);
    engine.add_filter("default", or_default);
    engine.add_filter("d", or_default);
    engine
});

/// `docs | passages`, `docs | passages(limit=3, max_chars=500)`.
fn passages(documents: Value, options: Kwargs) -> Result<String, Error> {
    let limit: Option<usize> = options.get("limit")?;
    let max_chars: Option<usize> = options.get("max_chars")?;
    options.assert_all_used()?;
    if documents.is_none() {
        return Ok(String::new());
    }
    write_passages(&documents, limit, max_chars)
}

/// `value | tojson`, `value | tojson(indent=true)`: plain JSON. (The engine's own writes `<` as `\u003c`, for web pages.)
fn to_json(state: &State<'_, '_>, value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<bool> = options.get("indent")?;
    options.assert_all_used()?;
    json_text(state, &value, indent.unwrap_or(false))
}

/// JSON, paid for in fuel: a value that holds another many times over may be short to make and long to write.
fn json_text(state: &State<'_, '_>, value: &Value, indent: bool) -> Result<String, Error> {
    /// Bytes of JSON for one fuel.
    const BYTES: u64 = 4;
    let room = state
        .fuel_levels()
        .map_or(u64::MAX, |(_, left)| left.saturating_mul(BYTES));
    let mut out = Bounded {
        text: Vec::new(),
        room: usize::try_from(room).unwrap_or(usize::MAX),
    };
    let written = if indent {
        serde_json::to_writer_pretty(&mut out, value)
    } else {
        serde_json::to_writer(&mut out, value)
    };
    let used = out.text.len() as u64 / BYTES;
    match written {
        Ok(()) => {
            state.consume_fuel(used)?;
            String::from_utf8(out.text).map_err(|_| wrong_kind("not a text"))
        }
        Err(error) if error.is_io() => Err(Error::from(ErrorKind::OutOfFuel)),
        Err(error) => Err(wrong_kind(error.to_string())),
    }
}

/// A buffer that refuses to grow past its room.
struct Bounded {
    text: Vec<u8>,
    room: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.room {
            return Err(std::io::Error::other("no room"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// As the engine's own `default`, but null counts as missing.
fn or_default(value: Value, other: Option<Value>, lax: Option<bool>) -> Value {
    let other = other.unwrap_or_else(|| Value::from(""));
    let absent = matches!(value.kind(), ValueKind::Undefined | ValueKind::None)
        || super::context::is_nothing(&value);
    if absent || (lax.unwrap_or(false) && !value.is_true()) {
        other
    } else {
        value
    }
}

/// Names that the engine itself provides.
pub(super) fn is_global(name: &str) -> bool {
    ENGINE.globals().any(|(global, _)| global == name)
}

/// The engine has no name for "an argument of the wrong kind"; this is what it uses itself.
pub(super) fn wrong_kind(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// A value of any serializable thing. An engine value comes out as it is, by reference.
pub(super) fn to_value<S: serde::Serialize>(value: &S) -> Value {
    Value::from(Serde(value))
}
