//! Messages and tokens as texts: `t/<task>/<job>/<lane>`, `k/<job>`, `<entry>/<deliveries of the entry>/<consumer>`.

use fapo_domain::model::task::Lane;
use fapo_domain::ports::queue::Message;

/// A message as it stands in Redis. The scripts read project and job from it.
pub(super) fn of_message(message: &Message) -> String {
    match message {
        Message::Task { task, job, lane } => format!("t/{task}/{job}/{:016x}", lane.0),
        Message::Tick { job } => format!("k/{job}"),
    }
}

/// Reads what [`of_message`] wrote.
pub(super) fn to_message(text: &str) -> Option<Message> {
    let mut parts = text.split('/');
    let message = match parts.next()? {
        "t" => Message::Task {
            task: parts.next()?.parse().ok()?,
            job: parts.next()?.parse().ok()?,
            lane: Lane(u64::from_str_radix(parts.next()?, 16).ok()?),
        },
        "k" => Message::Tick {
            job: parts.next()?.parse().ok()?,
        },
        _ => return None,
    };
    parts.next().is_none().then_some(message)
}

/// What a delivery's token says: enough to tell it from every other delivery of the entry, to the same consumer too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub entry: &'a str,
    /// How often the entry had been delivered then.
    pub count: &'a str,
    pub consumer: &'a str,
}

impl<'a> Token<'a> {
    /// Reads a token. `None` where another queue made it.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        Some(Self {
            entry: parts.next()?,
            count: parts.next()?,
            consumer: parts.next()?,
        })
    }
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.entry, self.count, self.consumer)
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::{JobId, TaskId};

    use super::*;

    #[test]
    fn texts_come_back_as_they_were() {
        let job = JobId::at(7, [7; 10]);
        let task = Message::Task {
            task: TaskId::derive(job, "execute", "1"),
            job,
            lane: Lane(u64::MAX),
        };
        for message in [task, Message::Tick { job }] {
            assert_eq!(to_message(&of_message(&message)), Some(message));
        }
        for nonsense in ["", "t/1/2/3", "k/", "x/1"] {
            assert_eq!(to_message(nonsense), None, "{nonsense}");
        }
        assert_eq!(to_message(&format!("k/{job}/more")), None);
        let token = Token {
            entry: "1-0",
            count: "2",
            consumer: "host/7",
        };
        assert_eq!(Token::read(&token.to_string()), Some(token));
    }
}
