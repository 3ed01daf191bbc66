//! What a session wrote and was told, kept as JSON lines within a bound.

use serde_json::{Value, json};

/// Most bytes kept of a transcript; what comes after is counted.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Longest line of it.
const LONGEST: usize = 1024 * 1024;

/// A transcript under way.
#[derive(Debug, Default)]
pub struct Transcript {
    text: Vec<u8>,
    left_out: u64,
}

impl Transcript {
    /// Adds a line: who wrote it, when (milliseconds since the session was opened), and what. A line that is JSON stays
    /// JSON; anything else is kept as text, with what is not UTF-8 replaced.
    pub fn add(&mut self, at_ms: u64, from: &str, bytes: &[u8]) {
        let cut = &bytes[..bytes.len().min(LONGEST)];
        let body = match serde_json::from_slice::<Value>(bytes) {
            Ok(value) if bytes.len() <= LONGEST => value,
            _ => Value::String(String::from_utf8_lossy(cut).into_owned()),
        };
        let mut line = json!({ "at_ms": at_ms, "from": from, "line": body });
        if bytes.len() > LONGEST {
            line["cut_from_bytes"] = bytes.len().into();
        }
        let line = line.to_string();
        if self.left_out > 0 || self.text.len() + line.len() + 1 > MOST_BYTES {
            self.left_out += 1;
            return;
        }
        self.text.extend_from_slice(line.as_bytes());
        self.text.push(b'\n');
    }

    /// The whole, with a last line that says how many were left out where some were.
    pub fn finish(mut self) -> Vec<u8> {
        if self.left_out > 0 {
            let line = json!({ "from": "fapo", "left_out_lines": self.left_out }).to_string();
            self.text.extend_from_slice(line.as_bytes());
            self.text.push(b'\n');
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(transcript: Transcript) -> Vec<Value> {
        let text = transcript.finish();
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn every_line_is_json_whatever_was_written() {
        let mut transcript = Transcript::default();
        transcript.add(1, "agent", b"{\"type\":\"result\"}");
        transcript.add(2, "stderr", b"oh \xff no");
        let lines = lines(transcript);
        assert_eq!(lines[0]["line"]["type"], "result");
        assert_eq!(lines[1]["line"], "oh \u{fffd} no");
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let mut transcript = Transcript::default();
        let line = vec![b'x'; 3 * LONGEST];
        for _ in 0..40 {
            transcript.add(0, "agent", &line);
        }
        let lines = lines(transcript);
        let last = lines.last().unwrap();
        assert_eq!(
            last["left_out_lines"].as_u64().unwrap() as usize + lines.len() - 1,
            40
        );
        assert_eq!(lines[0]["cut_from_bytes"], 3 * LONGEST);
    }
}
