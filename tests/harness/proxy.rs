//! A network that misbehaves: a TCP proxy whose connections can be cut, delayed and held up.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes that are passed on at once.
const CHUNK: usize = 64 * 1024;

/// What the network is like. It changes for all connections at once, those that are open already included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weather {
    /// How much later each chunk arrives.
    delay: Duration,
    /// Whether nothing arrives at all, although connections stay open.
    stalled: bool,
    /// How often all connections were cut.
    cuts: u64,
    /// How often they were to break off midway.
    breaks: u64,
}

/// A direction of a connection, and the messages that still pass once it is to break off midway.
#[derive(Debug, Clone, Copy)]
struct Fuse {
    breaks: u64,
    left: Option<u64>,
    /// `None` in the direction that does not break.
    length: Option<u64>,
}

impl Fuse {
    /// Whether the connection ends with this message, which is not passed on.
    fn burns(&mut self, breaks: u64) -> bool {
        if self.breaks != breaks {
            self.breaks = breaks;
            self.left = self.length;
        }
        match &mut self.left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

/// A proxy in front of one server on this machine. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Passes connections on to `port`. Works on the runtime it is called on.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("the proxy listens")?;
        let address = listener.local_addr()?;
        let (weather, seen) = watch::channel(Weather::default());
        let accepting = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, port, seen.clone(), number));
                number += 1;
            }
        });
        Ok(Self {
            address,
            weather,
            accepting,
        })
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Breaks all connections off; new ones are passed on.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Breaks each connection off in the middle of what it is used for next: after a few more messages, every second one when a
    /// request was sent, and every other one when only its answer is missing.
    pub fn break_midway(&self) {
        self.weather.send_modify(|weather| weather.breaks += 1);
    }

    /// Holds each chunk back for so long, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Lets nothing through, without an error anywhere, until it is called with `false`.
    pub fn stall(&self, stalled: bool) {
        self.weather
            .send_modify(|weather| weather.stalled = stalled);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// One connection, until either side ends it or it is cut.
async fn pass(client: TcpStream, port: u16, mut seen: watch::Receiver<Weather>, number: u64) {
    let Weather { cuts, breaks, .. } = *seen.borrow();
    let fuse = |breaking: bool| Fuse {
        breaks,
        left: None,
        // from the second to the seventh message: a transaction of a few statements is under way then
        length: breaking.then_some(1 + number % 6),
    };
    let (requests, answers) = (
        fuse(number.is_multiple_of(2)),
        fuse(!number.is_multiple_of(2)),
    );
    let passing = seen.clone();
    let pumps = async {
        // a server that is down refuses, and so does the proxy, by closing
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = pump(from_client, to_server, passing.clone(), requests) => ended,
            ended = pump(from_server, to_client, passing, answers) => ended,
        }
    };
    tokio::select! {
        // how it ended is for its two ends to notice
        _ = pumps => {}
        _ = seen.wait_for(|weather| weather.cuts != cuts) => {}
    }
}

/// Passes bytes on in one direction.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    mut fuse: Fuse,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        let now = match weather.wait_for(|weather| !weather.stalled).await {
            Ok(weather) => *weather,
            Err(_) => return Ok(()),
        };
        if fuse.burns(now.breaks) {
            return Ok(());
        }
        let delay = now.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        to.write_all(&chunk[..read]).await?;
    }
}
