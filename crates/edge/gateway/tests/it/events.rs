//! Event streams.

use std::time::Duration;

use anyhow::Context as _;
use fapo_gateway::{GatewayConfig, GatewayLimits};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::Response;
use serde_json::{Value, json};

use crate::client::{Ask, client};
use crate::world::{Setup, World};

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// One event, or a comment.
#[derive(Debug, Default, PartialEq)]
struct Event {
    id: Option<String>,
    name: Option<String>,
    data: Value,
    comment: bool,
}

struct Stream {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    read: String,
}

async fn open(world: &World, query: &str, last: Option<u64>) -> anyhow::Result<Response> {
    let url = world.url(&format!("/api/v1/jobs/{}/events/stream{query}", world.job));
    let mut request = client().get(url).bearer_auth(&world.tokens["viewer"]);
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    Ok(request.send().await?)
}

async fn stream(world: &World, query: &str, last: Option<u64>) -> anyhow::Result<Stream> {
    let response = open(world, query, last).await?.error_for_status()?;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let bytes = response
        .bytes_stream()
        .map(|chunk| chunk.map(|bytes| bytes.to_vec()));
    Ok(Stream {
        bytes: bytes.boxed(),
        read: String::new(),
    })
}

impl Stream {
    /// The next event or comment; `None` at the stream's end.
    async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some((block, rest)) = self.read.split_once("\n\n") {
                    let event = parse(block)?;
                    self.read = rest.to_owned();
                    return Ok(Some(event));
                }
                match self.bytes.next().await {
                    Some(chunk) => self.read.push_str(&String::from_utf8(chunk?)?),
                    None => return Ok(None),
                }
            }
        })
        .await
        .context("nothing came")?
    }

    /// The next event that is no comment.
    async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            let event = self.next().await?.context("the stream ended")?;
            if !event.comment {
                return Ok(event);
            }
        }
    }

    /// Positions of the next `count` events.
    async fn positions(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let event = self.event().await?;
            assert_eq!(event.name.as_deref(), Some("job"));
            let id = event.id.context("an event without an id")?;
            assert_eq!(event.data["seq"].to_string(), id);
            ids.push(id);
        }
        Ok(ids)
    }
}

fn parse(block: &str) -> anyhow::Result<Event> {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(':').context("a line without a colon")? {
            ("", _) => event.comment = true,
            ("id", id) => event.id = Some(id.trim().to_owned()),
            ("event", name) => event.name = Some(name.trim().to_owned()),
            ("data", data) => event.data = serde_json::from_str(data)?,
            (other, _) => anyhow::bail!("a field {other}"),
        }
    }
    Ok(event)
}

fn setup(limits: GatewayLimits) -> Setup {
    Setup {
        config: GatewayConfig {
            limits,
            ..GatewayConfig::default()
        },
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_stream_tells_what_was_what_comes_and_the_end() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut events = stream(&world, "", None).await?;
    assert_eq!(events.positions(1).await?, ["1"]);
    world
        .say([json!({"event": "two"}), json!({"event": "three"})])
        .await?;
    let second = events.event().await?;
    assert_eq!(second.data["body"], json!({"event": "two"}));
    assert_eq!(second.data["at"], "2027-01-15T08:00:00Z");
    assert_eq!(events.positions(1).await?, ["3"]);
    world.say([json!({"event": "four"})]).await?;
    world.finish().await?;
    assert_eq!(events.positions(1).await?, ["4"]);
    let end = events.event().await?;
    assert_eq!(
        (end.name.as_deref(), end.data),
        (Some("end"), json!({"status": "done"}))
    );
    assert_eq!(events.next().await?, None);
    Ok(())
}

#[tokio::test]
async fn a_stream_goes_on_where_the_client_was() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.say((2..=5).map(|n| json!({"event": n}))).await?;
    let mut first = stream(&world, "", None).await?;
    assert_eq!(first.positions(2).await?, ["1", "2"]);
    drop(first);
    let mut resumed = stream(&world, "", Some(2)).await?;
    assert_eq!(resumed.positions(3).await?, ["3", "4", "5"]);
    let mut asked = stream(&world, "?after_seq=4", None).await?;
    assert_eq!(asked.positions(1).await?, ["5"]);
    // what the browser sends by itself is newer than what stands in the address
    let mut both = stream(&world, "?after_seq=1", Some(4)).await?;
    assert_eq!(both.positions(1).await?, ["5"]);
    world.finish().await?;
    let mut late = stream(&world, "", Some(5)).await?;
    assert_eq!(late.event().await?.name.as_deref(), Some("end"));
    Ok(())
}

#[tokio::test]
async fn a_position_that_is_none_is_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    for bad in ["x", "-1", "1.5", "+1", "99999999999999999999"] {
        let path = format!("/api/v1/jobs/{}/events/stream", world.job);
        let ask = Ask::get(path)
            .with(&world, "viewer")
            .header("last-event-id", bad);
        let reply = ask.send(&world).await?;
        assert_eq!(
            (reply.status, reply.fields()),
            (400, vec!["Last-Event-ID".to_owned()]),
            "{bad}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_quiet_stream_sends_comments() -> anyhow::Result<()> {
    let limits = GatewayLimits {
        stream_keep_alive: Duration::from_millis(30),
        ..GatewayLimits::default()
    };
    let world = World::with(setup(limits)).await?;
    let mut events = stream(&world, "?after_seq=1", None).await?;
    let comment = events.next().await?.context("the stream ended")?;
    assert!(comment.comment);
    Ok(())
}

#[tokio::test]
async fn streams_have_places_and_a_client_that_goes_gives_its_own_back() -> anyhow::Result<()> {
    let limits = GatewayLimits {
        streams: 1,
        stream_keep_alive: Duration::from_millis(20),
        ..GatewayLimits::default()
    };
    let world = World::with(setup(limits)).await?;
    let mut first = stream(&world, "", None).await?;
    first.positions(1).await?;
    let refused = open(&world, "", None).await?;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await?["type"], "SERVER_BUSY");
    drop(first);
    let freed = async {
        while open(&world, "", None).await?.status() != 200 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, freed)
        .await
        .context("the place was not given back")??;
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_after_its_time_and_when_the_server_stops() -> anyhow::Result<()> {
    let limits = GatewayLimits {
        stream_time: Duration::from_millis(50),
        ..GatewayLimits::default()
    };
    let world = World::with(setup(limits)).await?;
    let mut short = stream(&world, "?after_seq=1", None).await?;
    assert_eq!(
        short.next().await?,
        None,
        "no `end`: the job goes on, and the client comes again"
    );

    let mut world = World::new().await?;
    let mut open = stream(&world, "", None).await?;
    open.positions(1).await?;
    world.stop.cancel();
    assert_eq!(open.next().await?, None);
    let server = world.server.take().context("the server was there")?;
    tokio::time::timeout(PATIENCE, server)
        .await
        .context("the server did not end")???;
    Ok(())
}
