//! A program's output, line by line, whatever it writes: lines of any length, bytes of any kind, an end in the middle of a
//! line. Memory is bounded: one line's bytes, up to the cap.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// Longest line that is kept whole.
pub const LONGEST_LINE: usize = 8 * 1024 * 1024;
/// What is kept of a longer one.
const KEPT_OF_LONG: usize = 4096;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end. `ended` is false for the last one of an output that broke off.
    Whole {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether its end was seen.
        ended: bool,
    },
    /// A line over the cap: its beginning and its length so far as it was read. One without end comes in several of these.
    TooLong {
        /// Its first bytes.
        start: Vec<u8>,
        /// Its length in bytes.
        length: u64,
    },
}

impl Line {
    /// Bytes of output that the line took.
    pub const fn size(&self) -> u64 {
        match self {
            Self::Whole { bytes, .. } => bytes.len() as u64 + 1,
            Self::TooLong { length, .. } => *length + 1,
        }
    }
}

/// Reads lines.
pub struct Lines<R> {
    from: BufReader<R>,
    longest: usize,
    /// The line that is being read; kept over a cancelled call.
    line: Vec<u8>,
    length: u64,
    /// Whether what is being read is the rest of a line of which a part was given already.
    rest: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of `from`, whole up to `longest` bytes.
    pub fn new(from: R, longest: usize) -> Self {
        Self {
            from: BufReader::with_capacity(64 * 1024, from),
            longest,
            line: Vec::new(),
            length: 0,
            rest: false,
        }
    }

    /// The next line, or `None` at the end. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the pipe fails.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let chunk = self.from.fill_buf().await?;
            if chunk.is_empty() {
                return Ok((self.length > 0).then(|| self.take(false)));
            }
            let (part, ends) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&chunk[..at], true),
                None => (chunk, false),
            };
            self.length += part.len() as u64;
            let most = if self.length > self.longest as u64 {
                self.line.truncate(KEPT_OF_LONG);
                KEPT_OF_LONG
            } else {
                self.longest
            };
            let room = most.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(ends);
            self.from.consume(used);
            if ends {
                return Ok(Some(self.take(true)));
            }
            // a line without end must be told of, too
            if self.length > 2 * self.longest as u64 {
                return Ok(Some(self.take(false)));
            }
        }
    }

    fn take(&mut self, ended: bool) -> Line {
        let length = std::mem::take(&mut self.length);
        let bytes = std::mem::take(&mut self.line);
        let is_long = length > self.longest as u64;
        let is_rest = std::mem::replace(&mut self.rest, is_long && !ended);
        if is_long || is_rest {
            Line::TooLong {
                start: bytes,
                length,
            }
        } else {
            Line::Whole { bytes, ended }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn all(input: &[u8], longest: usize) -> Vec<Line> {
        let mut lines = Lines::new(input, longest);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        found
    }

    fn whole(bytes: &[u8], ended: bool) -> Line {
        Line::Whole {
            bytes: bytes.to_vec(),
            ended,
        }
    }

    #[tokio::test]
    async fn an_end_in_the_middle_of_a_line_is_told() {
        assert_eq!(
            all(b"{\"a\":1}\n\n{\"b\"", 100).await,
            vec![
                whole(b"{\"a\":1}", true),
                whole(b"", true),
                whole(b"{\"b\"", false)
            ]
        );
        assert_eq!(all(b"", 100).await, vec![]);
    }

    #[tokio::test]
    async fn a_line_over_the_cap_is_cut_and_the_next_one_is_whole() {
        let mut input = vec![b'x'; 10_000];
        input.extend_from_slice(b"\nshort\n");
        let found = all(&input, 100).await;
        assert_eq!(found.len(), 2);
        assert!(
            matches!(&found[0], Line::TooLong { start, length: 10_000 } if start.len() <= KEPT_OF_LONG)
        );
        assert_eq!(found[1], whole(b"short", true));
    }

    #[tokio::test]
    async fn a_line_without_end_comes_in_parts() {
        let endless = vec![b'x'; 1_000_000];
        let found = all(&[&endless[..], b"\nnext\n"].concat(), 100).await;
        let last = found.last().unwrap();
        assert_eq!(*last, whole(b"next", true));
        let long = &found[..found.len() - 1];
        assert!(long.len() > 2 && long.iter().all(|line| matches!(line, Line::TooLong { .. })));
        let sum: u64 = long.iter().map(|line| line.size() - 1).sum();
        assert_eq!(sum, 1_000_000);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_their_lines(input in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..2_000)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let found = runtime.block_on(all(&input, 4_000));
            let mut joined = Vec::new();
            for line in &found {
                let Line::Whole { bytes, ended } = line else { panic!("no line is over the cap") };
                joined.extend_from_slice(bytes);
                if *ended { joined.push(b'\n'); }
            }
            prop_assert_eq!(joined, input);
        }
    }
}
