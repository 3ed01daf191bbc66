//! What can be set.

use std::time::Duration;

/// Whether callers must show a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Each request of the API needs one.
    Tokens,
    /// Nobody is asked: whoever reaches the port may do everything. For a loopback address.
    Off,
}

/// What the gateway allows.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Whether callers must show a token.
    pub auth: AuthMode,
    /// Whether the last address in `X-Forwarded-For` is the client's: only where every request comes through a proxy of
    /// one's own that writes it. Otherwise anybody could take any address.
    pub trust_proxy: bool,
    /// Sizes, times and rates.
    pub limits: GatewayLimits,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            auth: AuthMode::Tokens,
            trust_proxy: false,
            limits: GatewayLimits::default(),
        }
    }
}

/// Sizes, times and rates. What is over one is answered with a problem that says which, and when to come again.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// Largest JSON body, in bytes.
    pub json_bytes: usize,
    /// Largest blob, in bytes.
    pub blob_bytes: usize,
    /// How long a request may take until its answer begins, the reading of its body included.
    pub request_time: Duration,
    /// The same for uploads and submissions, which send much and make the server read much.
    pub upload_time: Duration,
    /// Requests under way at once; event streams do not count once they flow.
    pub requests: usize,
    /// Event streams at once.
    pub streams: usize,
    /// How long one event stream lasts at most. The client comes again, and shows its token anew: a revoked one sees no more
    /// than this.
    pub stream_time: Duration,
    /// After how long without an event a stream sends a comment, so that nothing on the way takes it for dead.
    pub stream_keep_alive: Duration,
    /// Requests per second of one token, and of one address that shows none.
    pub rate: f64,
    /// Requests that may come at once after a pause.
    pub burst: u32,
    /// Tokens and addresses whose rates are remembered; those beyond share one rate.
    pub rates: usize,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            json_bytes: 4 * 1024 * 1024,
            blob_bytes: 64 * 1024 * 1024,
            request_time: Duration::from_secs(30),
            upload_time: Duration::from_secs(300),
            requests: 256,
            streams: 256,
            stream_time: Duration::from_secs(3600),
            stream_keep_alive: Duration::from_secs(15),
            rate: 50.0,
            burst: 200,
            rates: 10_000,
        }
    }
}
