//! Reading messages: whatever a client sent is checked field by field, and what is wrong is told with its path.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use fapo_domain::clock::Timestamp;
use fapo_domain::{ContentHash, ErrorCode, JobId, MicroUsd};
use serde_json::{Map, Value};
use tonic::Status;

use crate::fault::Fault;

/// The reason of a request that breaks a rule of its message.
pub(crate) const REQUEST_INVALID: &str = "REQUEST_INVALID";

/// A part of a message that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    field: String,
    message: String,
}

/// A read value, or what is wrong with it.
pub(crate) type Read<T> = Result<T, Invalid>;

impl Invalid {
    /// What is wrong with `field`: lower-case start, no trailing dot.
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }

    /// A field that has to be there.
    pub(crate) fn missing(field: &str) -> Self {
        Self::new(field, "has to be given")
    }

    /// The same, seen from the message around.
    pub(crate) fn within(self, outer: impl Display) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            ..self
        }
    }
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        let message = format!("`{}`: {}", invalid.field, invalid.message);
        Self {
            violation: Some((invalid.field, invalid.message)),
            ..Self::new(ErrorCode::InvalidArgument, REQUEST_INVALID, message)
        }
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        Fault::from(invalid).into_status()
    }
}

/// Adds where a value stands to what is wrong with it.
pub(crate) trait Within<T> {
    /// See [`Invalid::within`].
    fn within(self, outer: impl Display) -> Read<T>;
}

impl<T> Within<T> for Read<T> {
    fn within(self, outer: impl Display) -> Read<T> {
        self.map_err(|invalid| invalid.within(outer))
    }
}

/// A message that has to be there.
pub(crate) fn given<T>(value: Option<T>, field: &str) -> Read<T> {
    value.ok_or_else(|| Invalid::missing(field))
}

/// A message that has to be there, read by `read`.
pub(crate) fn inner<W, T>(
    value: Option<W>,
    field: &str,
    read: impl FnOnce(W) -> Read<T>,
) -> Read<T> {
    read(given(value, field)?).within(field)
}

/// A message that may be absent.
pub(crate) fn maybe<W, T>(
    value: Option<W>,
    field: &str,
    read: impl FnOnce(W) -> Read<T>,
) -> Read<Option<T>> {
    value.map(read).transpose().within(field)
}

/// All of a list.
pub(crate) fn each<W, T>(values: Vec<W>, field: &str, read: impl Fn(W) -> Read<T>) -> Read<Vec<T>> {
    values
        .into_iter()
        .enumerate()
        .map(|(position, value)| read(value).within(format_args!("{field}[{position}]")))
        .collect()
}

/// At most so many of something.
pub(crate) fn at_most(count: usize, most: usize, field: &str) -> Read<()> {
    if count <= most {
        Ok(())
    } else {
        let message = format!("has {count} entries; at most {most} are taken in one call");
        Err(Invalid::new(field, message))
    }
}

/// A hash, or an id that is one.
pub(crate) fn hash(text: &str, field: &str) -> Read<ContentHash> {
    if text.is_empty() {
        return Err(Invalid::missing(field));
    }
    text.parse()
        .map_err(|_| Invalid::new(field, "has to be 64 hex digits"))
}

/// A hash that may be absent.
pub(crate) fn maybe_hash(text: Option<&str>, field: &str) -> Read<Option<ContentHash>> {
    text.map(|text| hash(text, field)).transpose()
}

/// A job's id.
pub(crate) fn job_id(text: &str, field: &str) -> Read<JobId> {
    if text.is_empty() {
        return Err(Invalid::missing(field));
    }
    JobId::from_str(text).map_err(|_| Invalid::new(field, "has to be a UUID"))
}

/// A name: not empty.
pub(crate) fn named(text: String, field: &str) -> Read<String> {
    if text.is_empty() {
        Err(Invalid::missing(field))
    } else {
        Ok(text)
    }
}

/// JSON of any kind.
pub(crate) fn json(bytes: &[u8], field: &str) -> Read<Value> {
    typed(bytes, field)
}

/// JSON that is a `T`.
pub(crate) fn typed<T: serde::de::DeserializeOwned>(bytes: &[u8], field: &str) -> Read<T> {
    if bytes.is_empty() {
        return Err(Invalid::missing(field));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Invalid::new(field, format!("is not the JSON that belongs here: {error}")))
}

/// JSON that may be absent.
pub(crate) fn maybe_json(bytes: Option<&[u8]>, field: &str) -> Read<Option<Value>> {
    bytes.map(|bytes| json(bytes, field)).transpose()
}

/// A JSON object; empty bytes are an empty one.
pub(crate) fn object(bytes: &[u8], field: &str) -> Read<Map<String, Value>> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match json(bytes, field)? {
        Value::Object(map) => Ok(map),
        _ => Err(Invalid::new(field, "has to be a JSON object")),
    }
}

/// A share: a number in `[0, 1]`.
pub(crate) fn share(value: f64, field: &str) -> Read<f64> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Invalid::new(field, "has to be a number from 0 to 1"))
    }
}

/// Money.
pub(crate) fn money(micro_usd: i64, field: &str) -> Read<MicroUsd> {
    u64::try_from(micro_usd)
        .map(MicroUsd)
        .map_err(|_| Invalid::new(field, "cannot be negative"))
}

/// Money, as it is sent: what is more than the field holds is its most.
pub(crate) fn micro_usd(money: MicroUsd) -> i64 {
    i64::try_from(money.0).unwrap_or(i64::MAX)
}

/// A duration; absent is zero.
pub(crate) fn duration(value: Option<prost_types::Duration>, field: &str) -> Read<Duration> {
    value
        .map_or(Ok(Duration::ZERO), Duration::try_from)
        .map_err(|_| Invalid::new(field, "cannot be negative"))
}

/// Whole milliseconds; absent is 0.
pub(crate) fn millis(value: Option<prost_types::Duration>, field: &str) -> Read<u32> {
    u32::try_from(duration(value, field)?.as_millis())
        .map_err(|_| Invalid::new(field, "cannot be longer than 49 days"))
}

/// A duration as it is sent.
pub(crate) fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Milliseconds as they are sent.
pub(crate) fn wire_millis(millis: u32) -> Option<prost_types::Duration> {
    Some(wire_duration(Duration::from_millis(u64::from(millis))))
}

/// A moment; whole milliseconds.
pub(crate) fn timestamp(value: Option<prost_types::Timestamp>, field: &str) -> Read<Timestamp> {
    let value = given(value, field)?;
    value
        .seconds
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(i64::from(value.nanos / 1_000_000)))
        .map(Timestamp)
        .ok_or_else(|| Invalid::new(field, "is out of range"))
}

/// A moment as it is sent.
pub(crate) fn wire_timestamp(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: at.0.div_euclid(1000),
        nanos: i32::try_from(at.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000,
    })
}

/// JSON as it is sent.
pub(crate) fn wire_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("values of the domain have JSON: their keys are texts")
}
