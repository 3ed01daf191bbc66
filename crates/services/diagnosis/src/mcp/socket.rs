//! The session's socket: who is let in, and how much may be said.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fapo_domain::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::ports::agents::{AgentError, AgentTools};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::DropGuard;

use super::grant::{SessionGrant, ToolPorts};
use super::server::{Handler, names};
use super::session::Session;
use super::trials::DRAIN;
use super::used::ToolsUse;

/// The socket's name in the session's folder.
const NAME: &str = "tools.sock";
/// Connections at once.
const CONNECTIONS: usize = 8;
/// Bytes of the first line.
const FIRST_LINE: usize = 256;
/// How long the first line may take.
const FIRST_LINE_TIME: Duration = Duration::from_secs(5);
/// Bytes of one message.
const MESSAGE: usize = 1024 * 1024;
/// Messages of a session, over all its connections.
const MESSAGES: usize = 10_000;
/// How long to wait after a failure to accept, for descriptors to become free.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Opens a session's tools.
#[derive(Debug, Clone, Copy)]
pub struct SessionTools;

impl SessionTools {
    /// Serves `grant` on a socket in `folder`, which exists and is only the caller's, until the tools are closed, dropped,
    /// or expire.
    ///
    /// # Errors
    /// `Config` for an evaluation that is not the job's own on train; `Files` where the socket cannot be made.
    pub fn open(ports: ToolPorts, grant: SessionGrant, folder: &Path) -> Result<Tools, AgentError> {
        let evaluation = &grant.evaluation;
        if evaluation.split != Split::Train
            || evaluation.job != grant.job
            || evaluation.dataset != grant.spec.dataset
        {
            return Err(AgentError::Config {
                message: "a session may only be opened over its own job's train evaluation"
                    .to_owned(),
            });
        }
        let path = folder.join(NAME);
        let failed = |source| AgentError::Files {
            what: format!(
                "the socket of the session's tools could not be made in {}",
                folder.display()
            ),
            source,
        };
        let token = token().map_err(failed)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let names = names(grant.role);
        let session = Arc::new(Session::new(ports, grant));
        let door = Door {
            session: session.clone(),
            token: ContentHash::of(token.as_bytes()),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            messages: Arc::new(AtomicUsize::new(MESSAGES)),
        };
        session.tasks.spawn(door.keep(listener));
        Ok(Tools {
            tools: AgentTools {
                socket: path.clone(),
                token,
                names,
            },
            stop: session.stop.clone().drop_guard(),
            session,
            socket: Socket(path),
        })
    }
}

/// 256 bits of the system's randomness, as hex digits.
fn token() -> io::Result<String> {
    let mut bytes = [0u8; 32];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A socket's file, removed when it is dropped.
#[derive(Debug)]
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // the folder is removed with the session in any case
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A session's open tools. Dropping them stops serving and takes back what runs, without waiting for it.
pub struct Tools {
    tools: AgentTools,
    stop: DropGuard,
    session: Arc<Session>,
    socket: Socket,
}

impl Tools {
    /// What the agent is started with.
    pub fn agent_tools(&self) -> AgentTools {
        self.tools.clone()
    }

    /// What was done so far.
    pub fn used(&self) -> ToolsUse {
        self.session.log.used()
    }

    /// Stops serving. Cases that `try` is running may go on for a few seconds, because their calls are paid for; on return
    /// nothing runs any more.
    pub async fn close(self) -> ToolsUse {
        drop(self.stop);
        self.session.tasks.close();
        drop(self.socket);
        // every task ends by itself once `stop` is cancelled, cases after `DRAIN`
        self.session.tasks.wait().await;
        self.session.log.used()
    }
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools")
            .field("tools", &self.tools)
            .finish_non_exhaustive()
    }
}

/// Lets in who has the token.
struct Door {
    session: Arc<Session>,
    /// Hash of the token: comparing hashes tells nothing of how much of a guess was right.
    token: ContentHash,
    places: Arc<Semaphore>,
    messages: Arc<AtomicUsize>,
}

impl Door {
    async fn keep(self, listener: UnixListener) {
        let session = &self.session;
        let expires = tokio::time::sleep_until(session.grant.expires);
        tokio::pin!(expires);
        loop {
            let accepted = tokio::select! {
                biased;
                () = session.stop.cancelled() => return,
                () = &mut expires => {
                    session.stop.cancel();
                    return;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => match self.places.clone().try_acquire_owned() {
                    Ok(place) => {
                        let guest = self.guest(stream, place);
                        session.tasks.spawn(guest);
                    }
                    Err(_) => session
                        .log
                        .refused("a connection to the tools: there are as many as may be"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection to a session's tools was lost");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// One connection, to its end.
    fn guest(
        &self,
        stream: UnixStream,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let session = self.session.clone();
        let token = self.token;
        let messages = self.messages.clone();
        async move {
            let _place = place;
            let stop = session.stop.clone();
            let (read, write) = stream.into_split();
            let mut read = BufReader::new(read);
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                first = tokio::time::timeout(FIRST_LINE_TIME, first_line(&mut read)) => first,
            };
            let refusal = match first {
                Ok(Ok(Some(line))) if ContentHash::of(&line) == token => None,
                Ok(Ok(Some(_))) => Some("a connection to the tools with a wrong token"),
                Ok(Ok(None)) => Some("a connection to the tools without a token"),
                Ok(Err(_)) => Some("a connection to the tools that broke before its token"),
                Err(_) => Some("a connection to the tools that was too slow with its token"),
            };
            if let Some(refusal) = refusal {
                session.log.refused(refusal);
                return;
            }
            let read = Bounded {
                inner: read,
                line: 0,
                messages,
                session: session.clone(),
                over: false,
            };
            let handler = Handler::new(session);
            let served = rmcp::serve_server(handler, (read, write));
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                served = served => {
                    let Ok(running) = served else { return };
                    let leave = running.cancellation_token();
                    let ended = running.waiting();
                    tokio::pin!(ended);
                    tokio::select! {
                        _ = &mut ended => {}
                        () = stop.cancelled() => {
                            leave.cancel();
                            // ends at once but for answers that are being written
                            let _ = tokio::time::timeout(DRAIN, ended).await;
                        }
                    }
                }
            }
        }
    }
}

/// The first line without its end; `None` where the stream ends before it, or it is too long.
async fn first_line(read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let available = read.fill_buf().await?;
        if available.is_empty() {
            return Ok(None);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = end.unwrap_or(available.len());
        if line.len() + part > FIRST_LINE {
            return Ok(None);
        }
        line.extend_from_slice(&available[..part]);
        let used = part + usize::from(end.is_some());
        read.consume(used);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Some(line));
        }
    }
}

/// Reads until a message is too long or there were too many; then it is as if the stream had ended.
struct Bounded<R> {
    inner: R,
    /// Bytes of the message that is being read.
    line: usize,
    messages: Arc<AtomicUsize>,
    session: Arc<Session>,
    over: bool,
}

impl<R> Bounded<R> {
    /// Whether these bytes are still within the bounds.
    fn allows(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line += part.len();
            if self.line > MESSAGE {
                return Err("a message of more than 1 MiB to the tools");
            }
            if part.ends_with(b"\n") {
                self.line = 0;
                let left =
                    self.messages
                        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                            left.checked_sub(1)
                        });
                if left.is_err() {
                    return Err("more messages to the tools than a session may send");
                }
            }
        }
        Ok(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if let Err(why) = self.allows(&buf.filled()[before..]) {
            buf.set_filled(before);
            self.over = true;
            self.session.log.refused(why);
        }
        Poll::Ready(Ok(()))
    }
}
