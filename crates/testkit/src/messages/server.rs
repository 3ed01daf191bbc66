//! The endpoint itself: a thread that serves, and the handle by which a test watches it.

mod line;
mod serve;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::serve::serve;
use super::script::{Conversation, Move};
use super::{Outcome, Request, Script};

/// How long a test waits for something before it fails.
const DEADLINE: Duration = Duration::from_secs(60);
const POISON: &str = "nothing panics while the endpoint's state is held";

/// A running endpoint. Dropping it ends it, replies under way included.
#[derive(Debug)]
pub struct ScriptedMessages {
    addr: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedMessages {
    /// Plays `script` on a free port of 127.0.0.1. Needs no runtime.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn start(script: Script) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let state = Arc::new(State::new(script));
        let stop = CancellationToken::new();
        let (serving, stopped) = (Arc::clone(&state), stop.clone());
        let thread = std::thread::Builder::new()
            .name("scripted-messages".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    // a listener that cannot be used any more leaves the test to its deadlines
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        stopped.run_until_cancelled(serve(listener, serving)).await;
                    }
                });
            })?;
        Ok(Self {
            addr,
            state,
            stop,
            thread: Some(thread),
        })
    }

    /// What `ANTHROPIC_BASE_URL` is to be: without `/v1`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What `base_url` of a model entry is to be: with `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Everything that was received so far, in order.
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.state.lock().requests.clone()
    }

    /// The requests of a conversation of the script.
    pub fn requests_of(&self, conversation: &str) -> Vec<Arc<Request>> {
        let mut requests = self.requests();
        requests.retain(|request| request.conversation.as_deref() == Some(conversation));
        requests
    }

    /// Requests for messages that fit no conversation.
    pub fn unmatched(&self) -> Vec<Arc<Request>> {
        let mut requests = self.requests();
        requests.retain(|request| request.is_message() && request.conversation.is_none());
        requests
    }

    /// Requests whose conversation had no move left.
    pub fn overruns(&self) -> Vec<Arc<Request>> {
        let mut requests = self.requests();
        requests.retain(|request| request.overrun);
        requests
    }

    /// Everything that was received, as one text: paths, headers, bodies as they were sent, and every string of the bodies once
    /// more without JSON's escapes, so that what is looked for is found however it was written.
    pub fn all_text(&self) -> String {
        let mut all = String::new();
        for request in self.requests() {
            all.push_str(&request.path);
            all.push('\n');
            for (name, value) in &request.headers {
                all.push_str(name);
                all.push_str(": ");
                all.push_str(value);
                all.push('\n');
            }
            all.push_str(&request.text);
            all.push('\n');
            strings(&request.body, &mut all);
        }
        all
    }

    /// Waits until something holds of the requests; asked again after each request and each reply that ends.
    ///
    /// # Errors
    /// When it does not hold within a minute.
    pub async fn wait_for(&self, holds: impl Fn(&[Arc<Request>]) -> bool) -> Result<()> {
        let mut changed = self.state.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                if holds(&self.requests()) {
                    return Ok(());
                }
                changed.changed().await?;
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(held) => held,
            Err(_) => bail!(
                "what was waited for did not happen within {} s; the scripted endpoint received {} requests",
                DEADLINE.as_secs(),
                self.requests().len()
            ),
        }
    }

    /// [`Self::wait_for`] for tests without a runtime. Blocks; not for use inside a runtime.
    ///
    /// # Errors
    /// When it does not hold within a minute.
    pub fn wait_for_blocking(&self, holds: impl Fn(&[Arc<Request>]) -> bool) -> Result<()> {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .context("a runtime to wait in")?
            .block_on(self.wait_for(holds))
    }
}

impl Drop for ScriptedMessages {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // its end is all that matters here; a panic of it was printed
            let _ = thread.join();
        }
    }
}

/// Adds every string in a value, keys included.
fn strings(value: &serde_json::Value, all: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            all.push_str(text);
            all.push('\n');
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, all)),
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                all.push_str(key);
                all.push('\n');
                strings(value, all);
            }
        }
        _ => {}
    }
}

/// What the serving side and the handle share.
#[derive(Debug)]
struct State {
    script: Vec<Conversation>,
    seen: Mutex<Seen>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Arc<Request>>,
    playing: Vec<Playing>,
}

/// A session that plays a conversation.
#[derive(Debug)]
struct Playing {
    conversation: usize,
    session: String,
    next: usize,
}

impl State {
    fn new(script: Script) -> Self {
        Self {
            script: script.conversations,
            seen: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect(POISON)
    }

    /// Keeps a request, and says what it is answered with: `None` where the script has no say in it.
    fn receive(&self, mut request: Request) -> (Arc<Request>, Option<Move>) {
        let mut seen = self.lock();
        let mut said = None;
        if request.is_message()
            && let Some(index) = self.conversation(&mut seen, &request)
        {
            let playing = &mut seen.playing[index];
            let conversation = &self.script[playing.conversation];
            request.conversation = Some(conversation.name.clone());
            said = conversation.moves.get(playing.next).cloned();
            playing.next += 1;
            if said.is_none() {
                request.overrun = true;
                said = Some(Move::text(format!(
                    "The script of `{}` has no move left.",
                    conversation.name
                )));
            }
        }
        request.number = seen.requests.len();
        let request = Arc::new(request);
        seen.requests.push(Arc::clone(&request));
        drop(seen);
        self.changed.send_replace(());
        (request, said)
    }

    /// Which entry of `playing` a request belongs to; made where it is the first of its session.
    fn conversation(&self, seen: &mut Seen, request: &Request) -> Option<usize> {
        let session = request.session();
        let fitting = |index: &usize| self.script[*index].fits(request);
        let bound = seen.playing.iter().position(|playing| {
            playing.session == session && self.script[playing.conversation].fits(request)
        });
        if bound.is_some() {
            return bound;
        }
        let conversation = (0..self.script.len()).filter(fitting).find(|index| {
            self.script[*index].each
                || !seen
                    .playing
                    .iter()
                    .any(|playing| playing.conversation == *index)
        })?;
        seen.playing.push(Playing {
            conversation,
            session,
            next: 0,
        });
        Some(seen.playing.len() - 1)
    }

    fn ended(&self, request: &Request, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::UnderWay => 0,
            Outcome::Written => 1,
            Outcome::Abandoned => 2,
        };
        request.outcome.store(outcome, Ordering::SeqCst);
        self.changed.send_replace(());
    }
}
