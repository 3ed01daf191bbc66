//! Connections: readiness, TLS, slow clients, the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use fapo_gateway::{
    GatewayLimits, Ops, Probe, ProbeFailure, ServeOptions, TlsError, TlsFiles, TlsServer,
    ops_router, serve,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::client::Ask;
use crate::faults;
use crate::world::{Setup, World};

const PATIENCE: Duration = Duration::from_secs(20);

/// Fails, hangs, or is fine; counts how often it was asked.
struct Asked {
    kind: &'static str,
    times: AtomicUsize,
}

impl Asked {
    fn new(kind: &'static str) -> Arc<Self> {
        Arc::new(Self {
            kind,
            times: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Probe for Asked {
    async fn probe(&self) -> Result<(), ProbeFailure> {
        self.times.fetch_add(1, Ordering::SeqCst);
        match self.kind {
            "fine" => Ok(()),
            "hangs" => std::future::pending().await,
            _ => Err(ProbeFailure {
                message: "postgres://hunter2@db is away".to_owned(),
            }),
        }
    }
}

async fn with_probes(probes: &[(&str, &Arc<Asked>)]) -> anyhow::Result<World> {
    let named = |(name, probe): &(&str, &Arc<Asked>)| {
        let probe: Arc<dyn Probe> = Arc::<Asked>::clone(probe);
        ((*name).to_owned(), probe)
    };
    World::with(Setup {
        probes: probes.iter().map(named).collect(),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn readiness_names_each_thing_with_its_state_and_keeps_the_cause_for_the_log()
-> anyhow::Result<()> {
    let (fine, fails, hangs) = (Asked::new("fine"), Asked::new("fails"), Asked::new("hangs"));
    let world = with_probes(&[("store", &fine), ("queue", &fails), ("traces", &hangs)]).await?;
    let begun = tokio::time::Instant::now();
    let reply = Ask::get("/readyz").send(&world).await?;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "one that hangs is given up"
    );
    assert_eq!(reply.status, 503);
    let checks = json!({"queue": "failed", "store": "ok", "traces": "timed_out"});
    assert_eq!(
        reply.json(),
        json!({"ready": false, "stopping": false, "checks": checks})
    );
    assert_eq!(Ask::get("/healthz").send(&world).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn many_who_ask_for_readiness_ask_the_store_once() -> anyhow::Result<()> {
    let fine = Asked::new("fine");
    let world = with_probes(&[("store", &fine)]).await?;
    let asks = (0..20).map(|_| Ask::get("/readyz").send(&world));
    for reply in futures::future::join_all(asks).await {
        assert_eq!(reply?.status, 200);
    }
    assert!(fine.times.load(Ordering::SeqCst) < 10);
    world.stop.cancel();
    Ok(())
}

#[tokio::test]
async fn a_role_without_an_api_has_health_and_figures_and_no_more() -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let ops = Ops::new(
        Vec::new(),
        Arc::new(|| "fapo_up 1\n".to_owned()),
        stop.clone(),
    );
    let server = serve(
        listener,
        ops_router(ops),
        ServeOptions::default(),
        stop.clone(),
    );
    let server = tokio::spawn(server);
    let get = |path: &str| {
        crate::client::client()
            .get(format!("http://{address}{path}"))
            .send()
    };
    assert_eq!(get("/healthz").await?.text().await?, "{\"alive\":true}");
    assert_eq!(get("/readyz").await?.status(), 200);
    let metrics = get("/metrics").await?;
    assert!(
        metrics.headers()["content-type"]
            .to_str()?
            .starts_with("text/plain; version=0.0.4")
    );
    assert_eq!(metrics.text().await?, "fapo_up 1\n");
    assert_eq!(get("/api/v1/jobs").await?.status(), 404);
    stop.cancel();
    tokio::time::timeout(PATIENCE, server).await???;
    Ok(())
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_end_and_nothing_new_is_taken()
-> anyhow::Result<()> {
    let mut world = faults::world(GatewayLimits::default()).await?;
    let slow = tokio::spawn(
        crate::client::client()
            .get(world.url("/api/v1/jobs?project=slow"))
            .bearer_auth(&world.tokens["root"])
            .send(),
    );
    // it must be under way when the server is told to stop
    let began = faults::SLOW_BEGAN.acquire();
    tokio::time::timeout(PATIENCE, began)
        .await
        .context("the slow request did not begin")??
        .forget();
    // an idle connection must not keep the server
    let mut idle = TcpStream::connect(world.address).await?;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await?;
    let mut read = [0u8; 1024];
    assert!(idle.read(&mut read).await? > 0);
    world.stop.cancel();
    let server = world.server.take().context("the server was there")?;
    tokio::time::timeout(PATIENCE, server)
        .await
        .context("the server did not end")???;
    assert_eq!(slow.await??.status(), 200);
    assert!(TcpStream::connect(world.address).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_cut_off() -> anyhow::Result<()> {
    let world = World::with(Setup {
        options: ServeOptions {
            head_time: Duration::from_millis(100),
            ..ServeOptions::default()
        },
        ..Setup::default()
    })
    .await?;
    for begin in ["", "GET /healthz HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(world.address).await?;
        stream.write_all(begin.as_bytes()).await?;
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .context("the connection stayed open")??;
        assert!(!String::from_utf8_lossy(&rest).contains("200"));
    }
    Ok(())
}

#[tokio::test]
async fn tls_is_spoken_with_the_certificate_and_with_nobody_in_the_clear() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let files = TlsFiles {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem())?;
    std::fs::write(&files.key, made.signing_key.serialize_pem())?;
    let world = World::with(Setup {
        options: ServeOptions {
            tls: Some(TlsServer::load(&files)?),
            ..ServeOptions::default()
        },
        ..Setup::default()
    })
    .await?;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.cert)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(world.address).await?;
    let mut stream = connector
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    let ask = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let mut plain = TcpStream::connect(world.address).await?;
    plain.write_all(ask.as_bytes()).await?;
    let mut answer = Vec::new();
    // a reset is as good an end as any
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await?;
    assert!(
        !String::from_utf8_lossy(&answer).contains("HTTP"),
        "{answer:?}"
    );
    Ok(())
}

#[test]
fn a_certificate_that_cannot_be_served_is_told_with_its_file() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let make = |name: &str| -> anyhow::Result<TlsFiles> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let file = |end: &str| folder.path().join(format!("{name}-{end}.pem"));
        std::fs::write(file("cert"), made.cert.pem())?;
        std::fs::write(file("key"), made.signing_key.serialize_pem())?;
        Ok(TlsFiles {
            cert: file("cert"),
            key: file("key"),
        })
    };
    let (one, two) = (make("one")?, make("two")?);
    let load = |cert: &std::path::Path, key: &std::path::Path| {
        TlsServer::load(&TlsFiles {
            cert: cert.to_owned(),
            key: key.to_owned(),
        })
    };
    assert!(load(&one.cert, &one.key).is_ok());
    assert!(matches!(
        load(&one.cert, &two.key),
        Err(TlsError::Refused { .. })
    ));
    assert!(matches!(
        load(&one.key, &one.key),
        Err(TlsError::Empty { .. })
    ));
    let absent = folder.path().join("absent.pem");
    for wrong in [
        load(&absent, &one.key),
        load(&one.cert, &absent),
        load(&one.cert, &one.cert),
    ] {
        let Err(error @ TlsError::Unreadable { .. }) = wrong else {
            anyhow::bail!("{wrong:?}");
        };
        assert!(error.to_string().contains(".pem"), "{error}");
    }
    Ok(())
}
