//! The scripts of a topic. Each is one atomic step on the server, so that a process can die between any two lines of ours.

use redis::Script;

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("lua/topic.lua"),
            include_str!(concat!("lua/", $name, ".lua"))
        ))
    };
}

/// All scripts, with the hashes by which the server knows them.
pub(super) struct Scripts {
    pub push: Script,
    pub receive: Script,
    pub renew: Script,
    pub acknowledge: Script,
    pub retry_later: Script,
    pub depth: Script,
    pub mend: Script,
    pub leave: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            push: script!("push"),
            receive: script!("receive"),
            renew: script!("renew"),
            acknowledge: script!("acknowledge"),
            retry_later: script!("retry_later"),
            depth: script!("depth"),
            mend: script!("mend"),
            leave: script!("leave"),
        }
    }
}
