//! The HTTP/JSON API over the ports.
