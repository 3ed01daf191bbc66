//! Answers that stay within their bound, whatever they are made of, and say how to get the rest.

use serde_json::{Map, Value, json};

use crate::text::cut;

/// Bytes of an answer, as compact JSON.
pub const MOST_BYTES: usize = 16 * 1024;
/// What a list or a page leaves free for its `more`.
const SPARE: usize = 256;
/// Characters of one text, from generous to hardly anything.
const LIMITS: [usize; 8] = [6000, 3000, 1500, 700, 350, 160, 80, 40];
/// Items of a list inside a case.
const ITEMS: usize = 64;

/// Bytes of a value as compact JSON.
fn size(value: &Value) -> usize {
    value.to_string().len()
}

/// A value with its texts cut to `limit` characters and its lists to [`ITEMS`] items.
pub(super) fn cut_value(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(text) => Value::String(cut(text, limit)),
        Value::Array(items) => {
            let mut kept: Vec<Value> = items
                .iter()
                .take(ITEMS)
                .map(|item| cut_value(item, limit))
                .collect();
            if items.len() > ITEMS {
                kept.push(json!(format!("… {} more", items.len() - ITEMS)));
            }
            Value::Array(kept)
        }
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (cut(key, limit), cut_value(value, limit)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What `make` gives for the largest limit on a text's characters with which it fits; where none does, a note.
pub(super) fn shorten(make: impl Fn(usize) -> Value) -> Value {
    for (tries, limit) in LIMITS.into_iter().enumerate() {
        let mut value = make(limit);
        if size(&value) + SPARE <= MOST_BYTES {
            if tries > 0
                && let Some(map) = value.as_object_mut()
            {
                map.insert(
                    "cut".to_owned(),
                    json!(format!("texts are cut to {limit} characters")),
                );
            }
            return value;
        }
    }
    json!({"error": "this is too large to be shown; use `analyze` to look into it"})
}

/// `head` with as many of `items` from number `from` on as fit under `key`, and how to ask for more.
pub(super) fn list(
    mut head: Map<String, Value>,
    key: &str,
    items: impl ExactSizeIterator<Item = Value>,
    from: usize,
) -> Value {
    let total = items.len();
    let mut left =
        MOST_BYTES.saturating_sub(size(&Value::Object(head.clone())) + SPARE + key.len());
    let mut shown = Vec::new();
    let mut next = from;
    for item in items.skip(from) {
        let mut item = item;
        let mut bytes = size(&item) + 1;
        if shown.is_empty() && bytes > left {
            item = cut_value(&item, 40);
            bytes = size(&item) + 1;
        }
        if bytes > left {
            break;
        }
        left -= bytes;
        shown.push(item);
        next += 1;
    }
    head.insert(key.to_owned(), Value::Array(shown));
    if next < total {
        head.insert(
            "more".to_owned(),
            json!(format!("{} more: ask again with from={next}", total - next)),
        );
    }
    Value::Object(head)
}

/// `head` with as much of `text` from byte `from` on as fits, and how to ask for more. `from` is moved back to the start of
/// a character.
pub(super) fn page(mut head: Map<String, Value>, text: &str, from: usize) -> Value {
    let mut start = from.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut left = MOST_BYTES.saturating_sub(size(&Value::Object(head.clone())) + SPARE);
    let mut end = start;
    for (at, c) in text[start..].char_indices() {
        let bytes = escaped(c);
        if bytes > left {
            break;
        }
        left -= bytes;
        end = start + at + c.len_utf8();
    }
    head.insert("text".to_owned(), json!(text[start..end]));
    if end < text.len() {
        head.insert(
            "more".to_owned(),
            json!(format!(
                "{} of {} bytes more: ask again with from={end}",
                text.len() - end,
                text.len()
            )),
        );
    }
    Value::Object(head)
}

/// Bytes of a character in a JSON text.
const fn escaped(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c.is_ascii_control() => 6,
        c => c.len_utf8(),
    }
}

/// An object's members.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// A number with three decimals.
pub(super) fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_says_where_to_go_on_and_its_pages_join_up() {
        let items: Vec<Value> = (0..400)
            .map(|n| json!({"n": n, "text": "x".repeat(90)}))
            .collect();
        let mut seen = Vec::new();
        let mut from = 0;
        loop {
            let answer = list(
                object(json!({"of": 400})),
                "items",
                items.clone().into_iter(),
                from,
            );
            assert!(answer.to_string().len() <= MOST_BYTES);
            let shown = answer["items"].as_array().unwrap().clone();
            assert!(!shown.is_empty());
            from += shown.len();
            seen.extend(shown);
            if answer.get("more").is_none() {
                break;
            }
            assert!(
                answer["more"]
                    .as_str()
                    .unwrap()
                    .ends_with(&format!("from={from}"))
            );
        }
        assert_eq!(seen, items);
    }

    #[test]
    fn what_cannot_be_cut_enough_is_a_note() {
        let numbers: Map<String, Value> = (0..5000).map(|n| (format!("k{n}"), json!(n))).collect();
        let answer = shorten(|limit| cut_value(&Value::Object(numbers.clone()), limit));
        assert!(answer["error"].as_str().unwrap().contains("too large"));
    }

    proptest! {
        #[test]
        fn pages_of_any_text_fit_and_join_up(text in "(\\PC|[\\x00-\\x1f\"\\\\]|é|\u{1f600}){0,6000}") {
            let mut joined = String::new();
            let mut from = 0;
            loop {
                let answer = page(object(json!({"step": "a"})), &text, from);
                prop_assert!(answer.to_string().len() <= MOST_BYTES);
                let part = answer["text"].as_str().unwrap();
                joined.push_str(part);
                from += part.len();
                if answer.get("more").is_none() {
                    break;
                }
                prop_assert!(!part.is_empty());
            }
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn one_huge_item_does_not_stop_a_list(length in 0usize..200_000) {
            let items = vec![json!({"text": "y".repeat(length)}), json!({"text": "z"})];
            let answer = list(Map::new(), "items", items.into_iter(), 0);
            prop_assert!(answer.to_string().len() <= MOST_BYTES);
            prop_assert!(!answer["items"].as_array().unwrap().is_empty());
        }
    }
}
