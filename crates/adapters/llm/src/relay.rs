//! Relays: how a process that is not trusted calls a paid model without holding the key, and without being able to pass its caps.
//!
//! The process speaks the provider's own protocol, HTTP/1.1, to a Unix socket. Per request: check it ([`rules`]), reserve its
//! worst case in the ledger and under the session's own caps ([`session`]), pass it on with the key, pass the reply back as it comes
//! while counting what it reports as used ([`count`]), and settle.
//!
//! * **Worst case.** Every byte of the body counts as an input token, an image as so many more, all of it as written to the cache where
//!   anything is to be cached, and the reply is as long as the request allows. Where the budget
//!   has no room but may have it later, the request waits ([`RelayConfig::budget_wait`]); else it is answered with status 402 and
//!   `billing_error`, which neither Claude Code nor the SDKs try again.
//! * **Settled once.** A reply that reports what it used is settled at that, also when the client went away meanwhile: the rest of the reply is
//!   read for it, for a while. A reply that breaks off or reports nothing counts as lost at its worst case. An error of the
//!   provider gives the reservation back. A relay that is dropped settles what it has under way in the background; what a process that
//!   died had reserved counts as lost at the end of its claim.
//! * **What is sent is what was read.** The body is parsed, checked and written anew, so nobody can mean one thing to
//!   the relay and another to the provider. Features that cost what cannot be foreseen or that would let the provider reach
//!   other hosts for the process (tools that run at the provider, MCP connectors, sources given by URL) or that cost by the page
//!   (documents) are refused; betas that change prices or the context's length are dropped.
//! * **The key** is added here, whatever the client sent as one is dropped, and a provider that echoes it in an error is scrubbed.
//! * **Prices.** Tokens written to Anthropic's prompt cache cost 1.25 times the input price, or twice that for an hour's cache. Tokens
//!   are billed at the model's list price; higher tiers (`speed`, `service_tier`, `inference_geo`) are refused, because no price is
//!   known for them.

mod answer;
mod count;
mod forward;
mod rules;
mod serve;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::model::project::ModelSpec;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::Ledger;
use fapo_domain::ports::relay::{Relay, RelayError, RelayGrant, RelayUse, Relays};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::session::Session;
use crate::addresses::Addresses;
use crate::endpoint::Endpoint;
use crate::price::PriceTable;
use crate::provider::{EnvLookup, is_exact, unpriced};

/// The socket's name in its folder.
const SOCKET: &str = "relay.sock";

/// Bounds and waits of relays.
#[derive(Debug, Clone, Copy)]
pub struct RelayConfig {
    /// Largest request body.
    pub request_bytes: usize,
    /// Most bytes of bodies that a relay holds at once, from reading them until they are settled; further requests wait.
    pub memory_bytes: usize,
    /// Most requests of a session that count tokens: they cost nothing, and no money bounds them. Two are under way at once.
    pub counts: u32,
    /// Largest reply; a larger one is cut off.
    pub reply_bytes: usize,
    /// How long a request waits for other reservations to make room in a budget.
    pub budget_wait: Duration,
    /// The first wait before asking the ledger again; it doubles up to two seconds. A request of any relay that is settled ends
    /// the wait early.
    pub budget_poll: Duration,
    /// How long the provider may say nothing, before its reply and between two pieces of it. Claude Code itself waits for ever.
    pub silence: Duration,
    /// How long a reply is read on for its usage after the client went away.
    pub drain: Duration,
    /// How long closing waits for requests under way before it cuts them off.
    pub close_wait: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            request_bytes: 16 * 1024 * 1024,
            memory_bytes: 128 * 1024 * 1024,
            counts: 200,
            reply_bytes: 64 * 1024 * 1024,
            budget_wait: Duration::from_secs(120),
            budget_poll: Duration::from_millis(25),
            silence: Duration::from_secs(300),
            drain: Duration::from_secs(20),
            close_wait: Duration::from_secs(20),
        }
    }
}

/// Relays to providers over HTTP.
pub struct LlmRelays {
    env: EnvLookup,
    addresses: Addresses,
    prices: Arc<PriceTable>,
    ledger: Arc<dyn Ledger>,
    config: RelayConfig,
    /// A request of some relay was settled.
    settled: Arc<Notify>,
}

impl std::fmt::Debug for LlmRelays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlmRelays")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl LlmRelays {
    /// Relays whose keys and addresses come from `env`, and whose requests are paid from `ledger`.
    pub fn new(env: EnvLookup, prices: PriceTable, ledger: Arc<dyn Ledger>) -> Self {
        Self {
            env,
            addresses: Addresses::any(),
            prices: Arc::new(prices),
            ledger,
            config: RelayConfig::default(),
            settled: Arc::default(),
        }
    }

    /// Which pass nothing on to other addresses than these.
    #[must_use]
    pub fn with_addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// With other bounds and waits.
    #[must_use]
    pub const fn with_config(mut self, config: RelayConfig) -> Self {
        self.config = config;
        self
    }

    /// Whether money is bounded, by the session's cap or the job's: models without a price cannot be used then.
    async fn is_capped(&self, grant: &RelayGrant) -> Result<bool, StoreError> {
        if grant.cost.is_some() {
            return Ok(true);
        }
        Ok(self.ledger.balance(grant.job).await?.caps.cost.is_some())
    }

    fn check(&self, grant: &RelayGrant, capped: bool) -> Result<(), RelayError> {
        let spec: &ModelSpec = &grant.model;
        // what a mere word stands for is seen, and priced, with each request
        if capped && is_exact(spec) && self.prices.price(spec).is_none() {
            return Err(unpriced(&grant.entry, spec).into());
        }
        Ok(())
    }
}

#[async_trait]
impl Relays for LlmRelays {
    async fn open(&self, grant: RelayGrant, folder: &Path) -> Result<Box<dyn Relay>, RelayError> {
        let endpoint =
            Endpoint::open(&grant.entry, &grant.model, &self.env, &self.addresses, None)?;
        let capped = self.is_capped(&grant).await?;
        self.check(&grant, capped)?;
        let socket = folder.join(SOCKET);
        let listener = UnixListener::bind(&socket).map_err(RelayError::Socket)?;
        let session = Arc::new(Session::new(
            grant,
            endpoint,
            Arc::clone(&self.prices),
            Arc::clone(&self.ledger),
            self.config,
            capped,
            Arc::clone(&self.settled),
        ));
        let served = tokio::spawn(serve::serve(listener, Arc::clone(&session)));
        Ok(Box::new(Open {
            socket,
            session,
            served,
        }))
    }
}

/// An open relay.
struct Open {
    socket: PathBuf,
    session: Arc<Session>,
    served: JoinHandle<()>,
}

#[async_trait]
impl Relay for Open {
    fn socket(&self) -> &Path {
        &self.socket
    }

    fn used(&self) -> RelayUse {
        self.session.used()
    }

    async fn close(mut self: Box<Self>) -> Result<RelayUse, StoreError> {
        let session = Arc::clone(&self.session);
        // how it ended does not matter: it has nothing to settle
        let served = async { drop((&mut self.served).await) };
        session.end(served).await?;
        Ok(self.session.used())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.session.cut();
        // a socket that somebody else removed is gone all the same
        let _ = std::fs::remove_file(&self.socket);
    }
}
