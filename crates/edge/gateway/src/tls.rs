//! The gateway's own TLS, for where nothing in front of it has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those between it and the root, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// A certificate that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is no PEM.
    #[error("{} cannot be read as PEM of a {what}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// The certificate's file holds none.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The two do not go together, or are of a kind that is not known.
    #[error("the certificate {} cannot be served with the key {}", files.cert.display(), files.key.display())]
    Refused {
        /// The files.
        files: TlsFiles,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate that was read, ready to be served. It is read once: a new one takes a restart.
#[derive(Clone)]
pub struct TlsServer(pub(crate) TlsAcceptor);

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsServer(..)")
    }
}

impl TlsServer {
    /// Reads certificate and key, and holds one against the other. TLS 1.2 and 1.3, by ring.
    ///
    /// # Errors
    /// Which file is not right, and what is wrong with it.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let unreadable = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Unreadable { path, what, source }
        };
        let certs = CertificateDer::pem_file_iter(&files.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(&files.cert, "certificate"))?;
        if certs.is_empty() {
            return Err(TlsError::Empty {
                path: files.cert.clone(),
            });
        }
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(unreadable(&files.key, "private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certs, key))
            .map_err(|source| TlsError::Refused {
                files: files.clone(),
                source,
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}
