//! From stored values to JSON.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::schema::types::Type;
use serde_json::{Number, Value};

use super::cursor::Raw;
use crate::data::Fault;

/// Most digits after the point of a decimal: as many as the widest decimal in use has.
const MAX_SCALE: u32 = 76;
/// The Julian day on which 1970 began.
const EPOCH_JULIAN: i64 = 2_440_588;
const DAY: i64 = 86_400;
const NANOS: i64 = 1_000_000_000;

/// What a column's stored values stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
    Half,
    Text,
    Json,
    /// Digits after the point.
    Decimal(u32),
    Uuid,
    Date,
    /// Units in a second.
    Time(i64),
    /// Units in a second, and whether it is a moment (in UTC) or what a clock on some wall showed.
    Timestamp(i64, bool),
    /// A column of nulls.
    Nothing,
}

impl Kind {
    /// What the values of a column without fields are, or why they cannot be read.
    pub fn of(column: &Type) -> Result<Self, String> {
        let info = column.get_basic_info();
        let physical = column.get_physical_type();
        let noted = match info.logical_type_ref() {
            Some(LogicalType::Unknown) => Some(Self::Nothing),
            Some(LogicalType::String | LogicalType::Enum) => Some(Self::Text),
            Some(LogicalType::Json) => Some(Self::Json),
            Some(LogicalType::Uuid) => Some(Self::Uuid),
            Some(LogicalType::Float16) => Some(Self::Half),
            Some(LogicalType::Decimal(_)) => Some(Self::decimal(column)?),
            Some(LogicalType::Date) => Some(Self::Date),
            Some(LogicalType::Time(time)) => Some(Self::Time(units(&time.unit))),
            Some(LogicalType::Timestamp(time)) => Some(Self::Timestamp(
                units(&time.unit),
                time.is_adjusted_to_u_t_c,
            )),
            Some(LogicalType::Integer(number)) if !number.is_signed => Some(Self::Unsigned),
            _ => Self::converted(column, info.converted_type())?,
        };
        let kind = noted.unwrap_or(match physical {
            Physical::BOOLEAN => Self::Bool,
            Physical::INT32 | Physical::INT64 => Self::Signed,
            // the old form of a timestamp, which says nothing of its time zone
            Physical::INT96 => Self::Timestamp(NANOS, false),
            Physical::FLOAT | Physical::DOUBLE => Self::Float,
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => Self::Text,
        });
        Ok(kind)
    }

    /// What the older kind of note says.
    fn converted(column: &Type, noted: ConvertedType) -> Result<Option<Self>, String> {
        Ok(Some(match noted {
            ConvertedType::UTF8 | ConvertedType::ENUM => Self::Text,
            ConvertedType::JSON => Self::Json,
            ConvertedType::DECIMAL => Self::decimal(column)?,
            ConvertedType::DATE => Self::Date,
            ConvertedType::TIME_MILLIS => Self::Time(1_000),
            ConvertedType::TIME_MICROS => Self::Time(1_000_000),
            ConvertedType::TIMESTAMP_MILLIS => Self::Timestamp(1_000, true),
            ConvertedType::TIMESTAMP_MICROS => Self::Timestamp(1_000_000, true),
            ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64 => Self::Unsigned,
            ConvertedType::INTERVAL => return Err("an interval, which is not read".to_owned()),
            ConvertedType::BSON => return Err("BSON, which is not read".to_owned()),
            _ => return Ok(None),
        }))
    }

    fn decimal(column: &Type) -> Result<Self, String> {
        // absent in old files, and then 0
        let scale = u32::try_from(column.get_scale()).unwrap_or_default();
        if scale > MAX_SCALE {
            return Err(format!(
                "decimals with {scale} digits after the point, and at most {MAX_SCALE} are read"
            ));
        }
        Ok(Self::Decimal(scale))
    }

    /// How a person calls such values.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Signed | Self::Unsigned | Self::Float | Self::Half => "numbers",
            Self::Text | Self::Uuid => "texts",
            Self::Json => "JSON",
            Self::Decimal(_) => "decimals",
            Self::Date => "dates",
            Self::Time(_) => "times of day",
            Self::Timestamp(..) => "timestamps",
            Self::Nothing => "nulls",
        }
    }

    /// The JSON of a value; `name` is its column, for what is wrong with it.
    pub fn json(self, raw: Raw<'_>, name: &str) -> Result<Value, Fault> {
        let value = match (self, raw) {
            (Self::Nothing, _) => Some(Value::Null),
            (_, Raw::Bool(truth)) => Some(Value::Bool(truth)),
            (Self::Unsigned, Raw::Int32(number)) => Some(Value::from(number.cast_unsigned())),
            (Self::Unsigned, Raw::Int64(number)) => Some(Value::from(number.cast_unsigned())),
            (Self::Decimal(scale), Raw::Int32(number)) => Some(point(number.into(), scale)),
            (Self::Decimal(scale), Raw::Int64(number)) => Some(point(number.into(), scale)),
            (Self::Decimal(scale), Raw::Bytes(bytes)) => {
                let Some(number) = integer(bytes) else {
                    return Err(bad(name, "is a decimal of more than 38 digits")
                        .help("cast the column to text"));
                };
                Some(point(number, scale))
            }
            (Self::Date, Raw::Int32(days)) => date(days.into()).map(text),
            (Self::Time(units), Raw::Int32(count)) => time(count.into(), units).map(text),
            (Self::Time(units), Raw::Int64(count)) => time(count, units).map(text),
            (Self::Timestamp(units, utc), Raw::Int64(count)) => {
                let fraction = count.rem_euclid(units) * (NANOS / units);
                moment(count.div_euclid(units), fraction, utc)
            }
            (Self::Timestamp(_, utc), Raw::Int96(nanos, day)) => {
                // the day is signed, whatever the type that holds it
                let days = i64::from(day.cast_signed()) - EPOCH_JULIAN;
                i64::try_from(nanos).ok().and_then(|nanos| {
                    moment(
                        days * DAY + nanos.div_euclid(NANOS),
                        nanos.rem_euclid(NANOS),
                        utc,
                    )
                })
            }
            (_, Raw::Int32(number)) => Some(Value::from(number)),
            (_, Raw::Int64(number)) => Some(Value::from(number)),
            (_, Raw::Float(number)) => return float(shortest(number), name),
            (_, Raw::Double(number)) => return float(number, name),
            (Self::Half, Raw::Bytes([low, high])) => return float(half(*low, *high), name),
            (Self::Uuid, Raw::Bytes(bytes)) if bytes.len() == 16 => Some(uuid(bytes)),
            (Self::Json, Raw::Bytes(bytes)) => {
                return serde_json::from_slice(bytes).map_err(|found| {
                    let reason = found.to_string();
                    let reason = reason.split(" at line ").next().unwrap_or(&reason);
                    bad(
                        name,
                        &format!("is not JSON: {}", crate::problems::lower_first(reason)),
                    )
                });
            }
            (_, Raw::Bytes(bytes)) => {
                return std::str::from_utf8(bytes).map(Value::from).map_err(|_| {
                    Fault::new("not-utf8", format!("`{name}` is not UTF-8"))
                        .help("a case holds texts: write bytes as text, or leave the column out")
                });
            }
            (_, Raw::Int96(..)) => None,
        };
        value.ok_or_else(|| {
            bad(name, "is outside the times that can be written")
                .help("years go from -9999 to 9999, and a day has 24 hours")
        })
    }
}

fn bad(name: &str, what: &str) -> Fault {
    Fault::new("bad-value", format!("`{name}` {what}"))
}

/// How many of the unit are in a second.
fn units(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::MILLIS => 1_000,
        TimeUnit::MICROS => 1_000_000,
        TimeUnit::NANOS => NANOS,
    }
}

fn text(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn float(number: f64, name: &str) -> Result<Value, Fault> {
    Number::from_f64(number).map(Value::Number).ok_or_else(|| {
        let what = if number.is_nan() {
            "not a number (NaN)"
        } else {
            "infinite"
        };
        bad(name, &format!("is {what}, which JSON does not have"))
            .help("write null, or leave the row out")
    })
}

/// The number a person sees: 0.1 of four bytes is 0.1, not 0.10000000149011612.
fn shortest(number: f32) -> f64 {
    number
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(number))
}

/// IEEE 754 binary16.
fn half(low: u8, high: u8) -> f64 {
    let sign = if high & 0x80 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(high >> 2 & 0x1f);
    let fraction = f64::from(u16::from(high & 0x03) << 8 | u16::from(low)) / 1024.0;
    let size = match exponent {
        0 => fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    sign * size
}

fn uuid(bytes: &[u8]) -> Value {
    let mut name = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        name.push_str(&format!("{byte:02x}"));
    }
    Value::String(name)
}

/// A signed number, its highest byte first; none if it is too large.
fn integer(bytes: &[u8]) -> Option<i128> {
    let sign: u8 = match bytes.first() {
        Some(first) if first & 0x80 != 0 => 0xff,
        _ => 0,
    };
    let start = bytes.len().saturating_sub(16);
    let (above, number) = bytes.split_at(start);
    let mut whole = [sign; 16];
    whole[16 - number.len()..].copy_from_slice(number);
    let value = i128::from_be_bytes(whole);
    let fits = above.iter().all(|byte| *byte == sign) && (value < 0) == (sign != 0);
    fits.then_some(value)
}

/// A decimal as text, with all its digits.
fn point(number: i128, scale: u32) -> Value {
    let scale = scale as usize;
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!(
        "{:0>width$}",
        number.unsigned_abs().to_string(),
        width = scale + 1
    );
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Value::String(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

fn date(days: i64) -> Option<Date> {
    let start = days.checked_mul(DAY)?;
    let moment = Timestamp::from_second(start).ok()?;
    Some(TimeZone::UTC.to_datetime(moment).date())
}

fn time(count: i64, units: i64) -> Option<Time> {
    let seconds = count.div_euclid(units);
    let fraction = count.rem_euclid(units) * (NANOS / units);
    let hour = i8::try_from(seconds / 3600).ok()?;
    let minute = i8::try_from(seconds / 60 % 60).ok()?;
    let second = i8::try_from(seconds % 60).ok()?;
    Time::new(hour, minute, second, i32::try_from(fraction).ok()?).ok()
}

fn moment(seconds: i64, nanos: i64, utc: bool) -> Option<Value> {
    let moment = Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    Some(if utc {
        text(moment)
    } else {
        text(TimeZone::UTC.to_datetime(moment))
    })
}
