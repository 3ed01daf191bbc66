//! Redis for tests: the machine's server under a deployment of the test's own, or a server of the test's own to be stopped,
//! flushed and killed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fapo_queue::{RedisLimits, RedisQueue, RedisQueueConfig, RedisServer};
use tempfile::TempDir;

/// The address of the machine's server.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment where their server is"
)]
pub fn shared_url() -> String {
    std::env::var("FAPO_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

/// A name that no other test has, nor the same test in another run.
pub fn deployment() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{number}", std::process::id())
}

/// A deployment on the machine's server, whose keys are deleted when it is dropped.
pub struct Deployment {
    pub name: String,
    pub server: RedisServer,
}

impl Deployment {
    pub async fn new() -> Result<Self> {
        let name = deployment();
        let server = RedisServer::connect(&shared_url(), &name)
            .await
            .with_context(|| {
                format!(
                    "these tests need a Redis server at {}: apt-get install redis-server, or say where one is with \
                     FAPO_TEST_REDIS",
                    shared_url()
                )
            })?;
        Ok(Self { name, server })
    }

    pub fn queue(&self) -> RedisQueue {
        RedisQueue::new(&self.server, RedisQueueConfig::default())
    }

    pub fn limits(&self) -> RedisLimits {
        RedisLimits::new(&self.server)
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        delete_keys(&self.name).unwrap();
    }
}

/// Deletes what a deployment left, and nothing of anybody else's.
fn delete_keys(deployment: &str) -> redis::RedisResult<()> {
    let mut connection = redis::Client::open(shared_url())?.get_connection()?;
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("fapo:{{{deployment}}}:*"))
            .arg("COUNT")
            .arg(1000)
            .query(&mut connection)?;
        if !keys.is_empty() {
            redis::cmd("UNLINK").arg(keys).exec(&mut connection)?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

/// A server of the test's own. Killed when dropped.
pub struct Private {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
    options: Vec<String>,
}

impl Private {
    /// Starts one that keeps nothing on disk.
    pub async fn start() -> Result<Self> {
        Self::with_options(&["--save", "", "--appendonly", "no"]).await
    }

    pub async fn with_options(options: &[&str]) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let mut server = Self {
            folder: TempDir::new()?,
            port,
            process: None,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        server.run().await?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts the process, and waits until it answers.
    pub async fn run(&mut self) -> Result<()> {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn()
            .context("these tests start redis-server: apt-get install redis-server")?;
        self.process = Some(process);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.command(&["PING"]).is_err() {
            if tokio::time::Instant::now() > deadline {
                bail!("redis-server did not answer within 20 s");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Gives the server a command.
    pub fn command(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut connection)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
