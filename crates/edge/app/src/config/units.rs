//! Periods, sizes and secrets, as a person writes them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds in each unit of a period.
const PERIODS: [(&str, u64); 5] = [
    // before "m" and "s", which it ends and begins with
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Bytes in each unit of a size.
const SIZES: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// The word for a period without an end.
const FOREVER: &str = "forever";

/// A period: a whole number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A period, or `forever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(pub Option<Duration>);

/// A size in bytes: a whole number with `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. For whoever connects with it, and for nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "Secret(none)"
        } else {
            "Secret(***)"
        })
    }
}

/// The number before one of `units`, times what that unit stands for.
fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))?;
    let number = number.trim_end();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// The largest unit of which `value` is a whole number, which is what a person would write.
fn write(value: u64, units: &[(&str, u64)]) -> String {
    let whole = |scale: u64| value.is_multiple_of(scale) && value >= scale;
    let unit = units.iter().rev().find(|(_, scale)| whole(*scale));
    let (unit, scale) = unit.copied().unwrap_or(units[0]);
    format!("{}{unit}", value / scale)
}

impl Period {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        read(text, &PERIODS).map(|ms| Self(Duration::from_millis(ms)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 {
            return f.write_str("0s");
        }
        f.write_str(&write(ms, &PERIODS))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(period) => Period(period).fmt(f),
            None => f.write_str(FOREVER),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write(self.0, &SIZES))
    }
}

/// Reads and writes a unit as text, and describes it to editors.
macro_rules! as_text {
    ($name:ident, $wanted:literal, $pattern:literal, $parse:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!("{text:?} is not {}", $wanted))
                })
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

as_text!(
    Period,
    "a period such as \"30s\", \"10m\", \"12h\" or \"90d\"",
    r"^[0-9]+ *(ms|s|m|h|d)$",
    Period::parse
);
as_text!(
    Keep,
    "a period such as \"90d\", or \"forever\"",
    r"^([0-9]+ *(ms|s|m|h|d)|forever)$",
    |text| {
        if text == FOREVER {
            return Some(Keep(None));
        }
        Period::parse(text).map(|period| Keep(Some(period.0)))
    }
);
as_text!(
    Size,
    "a size such as \"512KiB\" or \"16MiB\"",
    r"^[0-9]+ *(KiB|MiB|GiB)$",
    |text| read(text, &SIZES).map(Size)
);

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_and_sizes_are_read_as_they_are_written() {
        for text in ["250ms", "30s", "90m", "12h", "90d"] {
            assert_eq!(Period::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Period::parse("60s").unwrap().to_string(), "1m");
        assert_eq!(Period::parse("0s").unwrap().to_string(), "0s");
        assert_eq!(read("16MiB", &SIZES), Some(16 << 20));
        assert_eq!(Size(16 << 20).to_string(), "16MiB");
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in ["", "s", "30", "-1s", "1.5h", "1w", "99999999999999999999d"] {
            assert_eq!(Period::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(***)");
    }
}
