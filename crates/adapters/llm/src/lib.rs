//! Model providers over HTTP, and the metered calls on top of them.
//!
//! * [`ProviderModels`] implements [`Models`](fapo_domain::ports::models::Models): OpenAI-compatible chat completions and
//!   Anthropic Messages. It retries what can pass, adapts its concurrency to each provider ([`Limiter`]), and knows what
//!   a call costs ([`PriceTable`]).
//! * [`Metered`] implements [`MeteredModels`](fapo_domain::ports::models::MeteredModels): look up, reserve, call, then store
//!   and charge in one commit.
//! * [`LlmRelays`] implements [`Relays`](fapo_domain::ports::relay::Relays): a socket through which a process that is not trusted
//!   calls a provider in its own protocol, without the key and within its caps.
//!
//! Invariants: an API key is read from the lookup that the app passes in, lives in a `SecretString`, is sent in a header
//! marked sensitive, and reaches no error, log or `Debug` output, not even when a provider echoes it; it goes to no address
//! that [`Addresses`] does not admit. Dropping a call's future cancels it. A failure that cannot pass is never tried twice.

mod addresses;
mod endpoint;
mod flight;
mod get;
mod kept;
mod limiter;
mod metered;
mod observe;
mod price;
mod provider;
mod relay;
mod retry;
mod shared;
mod wire;

pub use addresses::{Addresses, BadAddress};
pub use get::{GetError, get};
pub use limiter::{Limiter, Paused, Permit, Snapshot};
pub use metered::{Metered, MeteredConfig};
pub use price::{DEFAULT_PRICES, PriceError, PriceTable};
pub use provider::{EnvLookup, ProviderModels, is_exact, unpriced};
pub use relay::{LlmRelays, RelayConfig};

/// Installs the process's TLS cryptography (ring). The app calls it once at its start; calling it again, or after
/// somebody else chose another provider, changes nothing. Clients that are built before it was called call it themselves.
pub fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing a race against another installation is fine: one is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
