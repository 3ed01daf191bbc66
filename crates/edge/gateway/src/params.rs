//! Parameters in paths and queries: what they may be is said once, for the check and for the document.

use std::collections::BTreeMap;

use fapo_domain::hash::ContentHash;
use fapo_domain::ids::JobId;
use serde_json::{Value as Json, json};

use crate::problem::ProblemPart;

/// The largest number that JSON keeps whole everywhere.
pub(crate) const MAX_INTEGER: u64 = (1 << 53) - 1;

/// What a parameter may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A whole number.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What it is where it is absent.
        default: Option<u64>,
    },
    /// A share.
    Share,
    /// A text of so many characters at most, at least one, none of them a control character.
    Text(usize),
    /// Letters, digits, `-` and `_`, at most 64: a project's name.
    Name,
    /// 64 hex digits.
    Hash,
    /// 16 hex digits: a token's public part.
    TokenId,
    /// A UUID in its usual form.
    Uuid,
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// A parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is for.
    pub about: &'static str,
    /// A value that fits, for the document.
    pub example: &'static str,
}

/// The values of a request's parameters, each of its kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(BTreeMap<&'static str, String>);

impl Kind {
    /// Whether `text` fits; what is wanted, where it does not.
    fn check(self, text: &str) -> Result<(), String> {
        let hex = |digits: usize| {
            text.len() == digits
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let (fits, wanted) = match self {
            Self::Integer { min, max, .. } => (
                text.bytes().all(|byte| byte.is_ascii_digit())
                    && text
                        .parse::<u64>()
                        .is_ok_and(|number| (min..=max).contains(&number)),
                format!("a whole number from {min} to {max} is needed"),
            ),
            Self::Share => (
                text.parse::<f64>()
                    .is_ok_and(|number| (0.0..=1.0).contains(&number)),
                "a number from 0 to 1 is needed".to_owned(),
            ),
            Self::Text(max) => (
                (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control),
                format!("1 to {max} characters are needed, none of them a control character"),
            ),
            Self::Name => (
                is_name(text),
                "1 to 64 letters, digits, `-` and `_` are needed".to_owned(),
            ),
            Self::Hash => (hex(64), "64 hex digits (0-9, a-f) are needed".to_owned()),
            Self::TokenId => (hex(16), "16 hex digits (0-9, a-f) are needed".to_owned()),
            Self::Uuid => (
                text.len() == 36 && text.parse::<JobId>().is_ok(),
                "a UUID such as 019a2b3c-4d5e-7f00-8a1b-2c3d4e5f6071 is needed".to_owned(),
            ),
            Self::OneOf(values) => (
                values.contains(&text),
                format!("one of {} is needed", values.join(", ")),
            ),
        };
        if fits { Ok(()) } else { Err(wanted) }
    }

    /// Its JSON Schema.
    pub(crate) fn schema(self) -> Json {
        match self {
            Self::Integer { min, max, default } => {
                let mut schema = json!({"type": "integer", "minimum": min, "maximum": max});
                if let Some(default) = default {
                    schema["default"] = json!(default);
                }
                schema
            }
            Self::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
            Self::Text(max) => json!({
                "type": "string", "minLength": 1, "maxLength": max,
                "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
            }),
            Self::Name => json!({"type": "string", "pattern": NAME}),
            Self::Hash => json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            Self::TokenId => json!({"type": "string", "pattern": "^[0-9a-f]{16}$"}),
            Self::Uuid => json!({"type": "string", "format": "uuid"}),
            Self::OneOf(values) => json!({"type": "string", "enum": values}),
        }
    }
}

/// A project's name, as a pattern.
pub(crate) const NAME: &str = "^[A-Za-z0-9_-]{1,64}$";

/// Whether a text can be a project's name.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl Values {
    /// Reads `given` against `params`. All that is not right is named, not the first only: unknown names, names given twice,
    /// values that do not fit.
    pub(crate) fn read<'a>(
        params: &[Param],
        given: impl IntoIterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>,
    ) -> Result<Self, Vec<ProblemPart>> {
        let mut values = BTreeMap::new();
        let mut wrong = Vec::new();
        for (name, text) in given {
            let Some(param) = params.iter().find(|param| param.name == name) else {
                let known: Vec<&str> = params.iter().map(|param| param.name).collect();
                let message = if known.is_empty() {
                    "there is no such parameter; this route has none".to_owned()
                } else {
                    format!("there is no such parameter; there are {}", known.join(", "))
                };
                wrong.push(ProblemPart::new(name, message));
                continue;
            };
            if let Err(wanted) = param.kind.check(&text) {
                wrong.push(ProblemPart::new(param.name, wanted));
            } else if values.insert(param.name, text.into_owned()).is_some() {
                wrong.push(ProblemPart::new(param.name, "is given twice"));
            }
        }
        if wrong.is_empty() {
            Ok(Self(values))
        } else {
            Err(wrong)
        }
    }

    /// A text, where it was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value of a kind that is read from text. [`Values::read`] let it pass, so it reads.
    pub(crate) fn get<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.0.get(name)?.parse().ok()
    }

    /// A hash of the path.
    pub(crate) fn hash(&self, name: &str) -> Option<ContentHash> {
        self.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &[Param] = &[
        Param {
            name: "limit",
            kind: Kind::Integer {
                min: 1,
                max: 10,
                default: Some(5),
            },
            about: "",
            example: "3",
        },
        Param {
            name: "share",
            kind: Kind::Share,
            about: "",
            example: "0.5",
        },
        Param {
            name: "text",
            kind: Kind::Text(3),
            about: "",
            example: "abc",
        },
        Param {
            name: "job",
            kind: Kind::Uuid,
            about: "",
            example: "019a2b3c-4d5e-7f00-8a1b-2c3d4e5f6071",
        },
    ];

    fn read(query: &[(&'static str, &'static str)]) -> Result<Values, Vec<String>> {
        Values::read(
            PARAMS,
            query
                .iter()
                .map(|(name, text)| ((*name).into(), (*text).into())),
        )
        .map_err(|wrong| wrong.into_iter().map(|part| part.field).collect())
    }

    #[test]
    fn every_part_that_is_not_right_is_named_at_once() {
        let wrong = read(&[
            ("limit", "0"),
            ("share", "NaN"),
            ("text", "abcd"),
            ("job", "{019a2b3c-4d5e-7f00-8a1b-2c3d4e5f6071}"),
            ("other", ""),
        ]);
        assert_eq!(
            wrong.unwrap_err(),
            ["limit", "share", "text", "job", "other"]
        );
    }

    #[test]
    fn a_number_is_digits_within_its_bounds_and_given_once() {
        assert_eq!(read(&[("limit", "7")]).unwrap().get("limit"), Some(7u64));
        for bad in ["", "+7", " 7", "7.0", "-1", "11", "18446744073709551616"] {
            assert!(read(&[("limit", bad)]).is_err(), "{bad}");
        }
        assert_eq!(
            read(&[("limit", "7"), ("limit", "7")]).unwrap_err(),
            ["limit"]
        );
    }

    #[test]
    fn a_text_with_a_zero_byte_is_refused() {
        assert!(read(&[("text", "a\0b")]).is_err());
        assert_eq!(read(&[("text", "äöü")]).unwrap().text("text"), Some("äöü"));
    }
}
