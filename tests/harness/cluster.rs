//! A cluster of real processes: each role its own `fapo serve`, over a database and a Redis of its own, with a simulated model.
//!
//! Roles can be killed, stopped and started again at any moment; one that comes back has its old addresses, so that the others
//! find it. Everything ends with the [`Cluster`].

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fapo_testkit::postgres::TestDatabase;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Ran, Running, binary};

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// A Redis server of one's own, which forgets everything when it ends.
pub struct Redis {
    port: u16,
    folder: TempDir,
    running: Option<Running>,
}

impl Redis {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When `redis-server` is not there or does not come up.
    pub fn start() -> Result<Self> {
        let mut redis = Self {
            port: free_port()?,
            folder: tempfile::tempdir()?,
            running: None,
        };
        redis.restart()?;
        Ok(redis)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kills it where it runs, and starts it again, empty, on the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null());
        let started = Running::start(command).and_then(|mut running| {
            running.wait_for("Ready to accept connections")?;
            Ok(running)
        });
        let why = "redis-server comes up; Debian's package redis-server has it";
        self.running = Some(started.context(why)?);
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // it is killed with the value
        self.running = None;
    }

    /// Throws all keys away.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flush(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"FLUSHALL\r\n")?;
        let mut answer = [0; 16];
        let read = stream.read(&mut answer)?;
        if answer[..read].first() != Some(&b'+') {
            bail!("Redis says {:?}", String::from_utf8_lossy(&answer[..read]));
        }
        Ok(())
    }
}

/// Where a process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC, as host and port.
    pub grpc: String,
    /// HTTP, as host and port.
    pub http: String,
}

/// A process of the cluster.
struct Node {
    addresses: Addresses,
    running: Option<Running>,
}

/// What a cluster is started with.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// Executors; one where it is 0.
    pub executors: usize,
    /// Keys that all processes are given, as `--set` has them.
    pub set: Vec<String>,
    /// Variables that all processes are given.
    pub env: Vec<(String, String)>,
}

/// A cluster.
pub struct Cluster {
    /// The queue's server.
    pub redis: Redis,
    database: TestDatabase,
    options: ClusterOptions,
    nodes: BTreeMap<String, Node>,
    folder: TempDir,
}

impl Cluster {
    /// Starts every role in a process of its own: `orchestrator`, `executor-0`.., `scoring`, `traces`, `diagnosis`, `gateway`.
    ///
    /// # Errors
    /// When Postgres or Redis cannot be had, or a process does not come up.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let mut cluster = Self {
            redis: Redis::start()?,
            database: TestDatabase::empty().await?,
            options,
            nodes: BTreeMap::new(),
            folder: tempfile::tempdir()?,
        };
        // those that others ask come first
        let executors = cluster.options.executors.max(1);
        let mut names: Vec<String> = (0..executors).map(|n| format!("executor-{n}")).collect();
        names.extend(
            ["scoring", "traces", "orchestrator", "diagnosis", "gateway"].map(str::to_owned),
        );
        for name in names {
            cluster.launch(&name)?;
        }
        Ok(cluster)
    }

    /// The names of its processes.
    pub fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Where a process listens, or listened.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn addresses(&self, name: &str) -> Result<&Addresses> {
        let node = self.nodes.get(name);
        Ok(&node
            .with_context(|| format!("{name} was started"))?
            .addresses)
    }

    /// The URL that clients are given: the gateway's gRPC port.
    ///
    /// # Errors
    /// When there is no gateway.
    pub fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.addresses("gateway")?.grpc))
    }

    /// The database's URL.
    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Kills a process, as a power cut would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, name: &str) -> Result<Ran> {
        let running = self.take(name)?;
        running.signal("KILL")?;
        running.end()
    }

    /// Asks a process to stop, and waits for its end.
    ///
    /// # Errors
    /// When it does not run or does not end.
    pub fn stop(&mut self, name: &str) -> Result<Ran> {
        let running = self.take(name)?;
        running.signal("TERM")?;
        running.end()
    }

    /// Starts a process that was killed or stopped, at its old addresses.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        self.launch(name)
    }

    /// Runs a command of `fapo` to its end, with the cluster's variables.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn fapo(&self, args: &[&str]) -> Result<Ran> {
        let output = self.bare()?.args(args).output().context("fapo starts")?;
        Ok(Ran(output))
    }

    fn take(&mut self, name: &str) -> Result<Running> {
        let node = self.nodes.get_mut(name);
        let node = node.with_context(|| format!("{name} was started"))?;
        node.running.take().with_context(|| format!("{name} runs"))
    }

    fn launch(&mut self, name: &str) -> Result<()> {
        let role = name.split('-').next().unwrap_or(name);
        let known = self.nodes.get(name).map(|node| node.addresses.clone());
        let free = Addresses {
            grpc: "127.0.0.1:0".to_owned(),
            http: "127.0.0.1:0".to_owned(),
        };
        let wanted = known.unwrap_or(free);
        let mut command = self.bare()?;
        command
            .args(["serve", "--json", "--role", role])
            .args(["--grpc", &wanted.grpc, "--http", &wanted.http])
            .args(["--set", &format!("node.name={name}")])
            .args(["--set", "store.kind=postgres", "--set", "queue.kind=redis"]);
        for (key, other) in self.others(role) {
            command.args(["--set", &format!("services.{key}=http://{other}")]);
        }
        for setting in &self.options.set {
            command.args(["--set", setting]);
        }
        let mut running = Running::start(command)?;
        let line = running
            .wait_for("\"grpc\"")
            .with_context(|| format!("{name} comes up"))?;
        let said: Value = serde_json::from_str(&line)?;
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let node = Node {
            addresses: Addresses {
                grpc: text("grpc"),
                http: text("http"),
            },
            running: Some(running),
        };
        self.nodes.insert(name.to_owned(), node);
        Ok(())
    }

    /// The addresses that a role is told, by key.
    fn others(&self, role: &str) -> Vec<(&'static str, String)> {
        let wanted: &[(&'static str, &str)] = match role {
            "gateway" => &[("optimizer", "orchestrator"), ("traces", "traces")],
            "diagnosis" => &[("executor", "executor-0"), ("scoring", "scoring")],
            _ => &[],
        };
        let address = |(key, name): &(&'static str, &str)| {
            Some((*key, self.nodes.get(*name)?.addresses.grpc.clone()))
        };
        wanted.iter().filter_map(address).collect()
    }

    /// The binary with the cluster's variables, and nothing of the test's environment.
    fn bare(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("FAPO__STORE__URL", self.database.url())
            .env("FAPO__QUEUE__URL", self.redis.url())
            .env("FAPO__NODE__DIR", self.folder.path().join("server"))
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        Ok(command)
    }
}

/// A port that nobody has now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
