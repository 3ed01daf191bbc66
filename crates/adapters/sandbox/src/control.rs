//! Fapo's end of the socket to [`crate::init`].

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use fapo_domain::ports::sandbox::ProcessExit;

use crate::wire::Report;

/// Reads reports without ever waiting for one. There are few, and they fit into the socket's own buffer, so nobody has to
/// listen while the program runs.
pub(crate) struct Control {
    stream: UnixStream,
    unread: Vec<u8>,
    peak: u64,
    ended: Option<ProcessExit>,
}

impl Control {
    pub(crate) fn new(stream: UnixStream, unread: Vec<u8>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            unread,
            peak: 0,
            ended: None,
        })
    }

    /// Closes this direction: init ends the session when it sees that.
    pub(crate) fn close(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Most memory so far; `None` before the first look.
    pub(crate) fn peak(&mut self) -> Option<u64> {
        self.drain();
        (self.peak > 0).then_some(self.peak)
    }

    /// How the program ended, where that was said.
    pub(crate) fn ended(&mut self) -> Option<ProcessExit> {
        self.drain();
        self.ended
    }

    fn drain(&mut self) {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(read) if read > 0 => self.unread.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // closed, nothing there, or broken: what was said before counts
                Ok(_) | Err(_) => break,
            }
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Report::Peak { bytes }) => self.peak = self.peak.max(bytes),
                Ok(Report::Ended { exit, peak }) => {
                    self.peak = self.peak.max(peak);
                    self.ended = Some(exit);
                }
                Ok(Report::Started | Report::Refused { .. }) | Err(_) => {}
            }
        }
    }
}
