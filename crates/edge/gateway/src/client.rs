//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

/// The client's address: the peer's, or with `trust_proxy` the last one in `X-Forwarded-For`, which is the one that the
/// trusted proxy itself saw; those before it are what the client says.
pub(crate) fn address(
    extensions: &Extensions,
    headers: &HeaderMap,
    trust_proxy: bool,
) -> Option<IpAddr> {
    let forwarded = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?;
        last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    let peer = extensions.get::<Peer>().map(|peer| peer.0.ip());
    if trust_proxy {
        forwarded().or(peer)
    } else {
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_address_counts_only_where_the_proxy_is_trusted_and_only_the_last() {
        let mut extensions = Extensions::new();
        extensions.insert(Peer(SocketAddr::from(([10, 0, 0, 1], 4000))));
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "1.1.1.1, 2.2.2.2".parse().unwrap());
        headers.append("x-forwarded-for", "3.3.3.3, 4.4.4.4".parse().unwrap());
        let is = |trust, wanted: [u8; 4]| {
            assert_eq!(
                address(&extensions, &headers, trust),
                Some(IpAddr::from(wanted))
            );
        };
        is(false, [10, 0, 0, 1]);
        is(true, [4, 4, 4, 4]);
        headers.append("x-forwarded-for", "nobody".parse().unwrap());
        assert_eq!(
            address(&extensions, &headers, true),
            Some(IpAddr::from([10, 0, 0, 1]))
        );
    }
}
