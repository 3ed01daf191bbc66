//! Calls over TLS: a client that trusts the server's certificate gets its answer, all others a clean error.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use fapo_domain::ErrorCode;
use fapo_domain::error::Classified;
use fapo_domain::model::access::Caller;
use fapo_domain::ports::optimizer::Optimizer;
use fapo_domain::ports::trace_context::NoTraces;
use fapo_rpc::{
    ClientOptions, ConnectError, Connection, RemoteOptimizer, ServeError, ServerOptions, ServerTls,
};

use crate::world::{Setup, World};

/// A certificate for `localhost` and its key, in files.
fn certificate(folder: &tempfile::TempDir, name: &str) -> anyhow::Result<ServerTls> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let file = |kind: &str, text: String| -> anyhow::Result<PathBuf> {
        let path = folder.path().join(format!("{name}-{kind}.pem"));
        std::fs::write(&path, text)?;
        Ok(path)
    };
    Ok(ServerTls {
        certificate: file("certificate", made.cert.pem())?,
        key: file("key", made.signing_key.serialize_pem())?,
    })
}

fn setup(tls: ServerTls) -> Setup {
    Setup {
        options: ServerOptions {
            tls: Some(tls),
            ..ServerOptions::default()
        },
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_answered_and_no_other() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let ours = certificate(&folder, "ours")?;
    let theirs = certificate(&folder, "theirs")?;
    let world = World::new(setup(ours.clone())).await?;
    let things = world.fill("qa").await?;
    let ask = async |url: String, ca: Option<PathBuf>| {
        let options = ClientOptions {
            ca,
            tries: 1,
            ..ClientOptions::new(url)
        };
        let remote = RemoteOptimizer::new(Connection::new(options, Arc::new(NoTraces))?);
        anyhow::Ok(remote.job(&Caller::local(), things.job).await)
    };
    let secure = world.url.replace("http://127.0.0.1", "https://localhost");
    let job = ask(secure.clone(), Some(ours.certificate)).await??;
    ensure!(job.id == things.job);
    let plain = world.url.clone();
    for (url, ca) in [
        (secure.clone(), Some(theirs.certificate)),
        (secure, None),
        (plain, None),
    ] {
        let refused = ask(url.clone(), ca).await?;
        let error = refused
            .err()
            .with_context(|| format!("{url} was answered"))?;
        ensure!(error.code() == ErrorCode::Unavailable, "{error:?}");
    }
    Ok(())
}

#[tokio::test]
async fn files_that_are_no_certificate_are_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let good = certificate(&folder, "good")?;
    let absent = ServerTls {
        key: folder.path().join("absent.pem"),
        ..good.clone()
    };
    let swapped = ServerTls {
        certificate: good.key.clone(),
        key: good.key,
    };
    for (tls, names) in [(absent, "absent.pem"), (swapped, "good-key.pem")] {
        let mut world = World::new(setup(tls)).await?;
        let error = (&mut world.served).await?.err().context("it serves")?;
        ensure!(error.to_string().contains(names), "{error}");
        ensure!(matches!(
            error,
            ServeError::TlsFile { .. } | ServeError::Tls { .. }
        ));
    }
    let options = ClientOptions {
        ca: Some(folder.path().join("absent.pem")),
        ..ClientOptions::new("https://localhost:1")
    };
    let refused = Connection::new(options, Arc::new(NoTraces));
    ensure!(matches!(refused, Err(ConnectError::Tls { .. })));
    Ok(())
}
