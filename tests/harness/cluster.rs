//! A cluster of real processes: each role its own `fapo serve`, over a database and a Redis of its own, with a simulated model.
//!
//! Roles can be killed, stopped and started again at any moment; one that comes back has its old addresses, so that the others
//! find it. Everything ends with the [`Cluster`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use fapo_testkit::postgres::TestDatabase;
use serde_json::Value;
use tempfile::TempDir;

use crate::redis::Redis;
use crate::{Ran, Running, binary, free_port};

/// The processes of a cluster besides its executors, one of each role.
const ROLES: [&str; 5] = ["scoring", "traces", "orchestrator", "diagnosis", "gateway"];

/// Where a process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC, as host and port.
    pub grpc: String,
    /// HTTP, as host and port.
    pub http: String,
}

impl Addresses {
    /// Two ports that nobody has now.
    fn free() -> Result<Self> {
        let free = || anyhow::Ok(format!("127.0.0.1:{}", free_port()?));
        Ok(Self {
            grpc: free()?,
            http: free()?,
        })
    }
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
    /// The binary, where it is not [`binary`].
    pub binary: Option<PathBuf>,
}

/// A cluster.
pub struct Cluster {
    database_url: String,
    queue_url: String,
    options: ClusterOptions,
    nodes: BTreeMap<String, Node>,
    folder: TempDir,
    /// Its own servers, where they are nobody else's; they end after the processes.
    _own: Option<(Redis, TestDatabase)>,
}

impl Cluster {
    /// Starts every role in a process of its own: `orchestrator`, `executor-0`.., `scoring`, `traces`, `diagnosis`, `gateway`,
    /// over a database in the tests' Postgres and a Redis of its own.
    ///
    /// # Errors
    /// When Postgres or Redis cannot be had, or a process does not come up.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let redis = Redis::start()?;
        let database = TestDatabase::empty().await?;
        let queue_url = Redis::url(redis.port());
        let mut cluster = Self::start_over(options, database.url().to_owned(), queue_url)?;
        cluster._own = Some((redis, database));
        Ok(cluster)
    }

    /// The same over servers of the caller's.
    ///
    /// # Errors
    /// When a process does not come up.
    pub fn start_over(
        options: ClusterOptions,
        database_url: String,
        queue_url: String,
    ) -> Result<Self> {
        let executors = options.executors.max(1);
        let mut cluster = Self {
            database_url,
            queue_url,
            options,
            nodes: BTreeMap::new(),
            folder: tempfile::tempdir()?,
            _own: None,
        };
        let mut names: Vec<String> = (0..executors).map(|n| format!("executor-{n}")).collect();
        names.extend(ROLES.map(str::to_owned));
        for name in &names {
            let addresses = Addresses::free()?;
            let running = None;
            cluster
                .nodes
                .insert(name.clone(), Node { addresses, running });
        }
        // all at once: whoever comes first brings the schema up to date, and the others wait for it
        for name in &names {
            cluster.begin(name)?;
        }
        for name in &names {
            cluster.wait_until_up(name)?;
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
        &self.database_url
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
        self.begin(name)?;
        self.wait_until_up(name)
    }

    /// The same without waiting until it is up.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin(&mut self, name: &str) -> Result<()> {
        let running = Running::start(self.serve(name)?)?;
        self.node(name)?.running = Some(running);
        Ok(())
    }

    /// Sends a process a signal, such as `STOP`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let node = self.nodes.get(name);
        let running = node.and_then(|node| node.running.as_ref());
        running
            .with_context(|| format!("{name} runs"))?
            .signal(signal)
    }

    /// Takes a process that has ended by itself out, and returns what it said.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn ended(&mut self, name: &str) -> Result<Option<Ran>> {
        let node = self.node(name)?;
        let Some(running) = &mut node.running else {
            return Ok(None);
        };
        if !running.has_ended()? {
            return Ok(None);
        }
        node.running.take().map(Running::end).transpose()
    }

    /// Whether a process was started, and not taken out since.
    pub fn runs(&self, name: &str) -> bool {
        self.nodes
            .get(name)
            .is_some_and(|node| node.running.is_some())
    }

    /// Runs a command of `fapo` to its end, with the cluster's variables.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn fapo(&self, args: &[&str]) -> Result<Ran> {
        let output = self.command()?.args(args).output().context("fapo starts")?;
        Ok(Ran(output))
    }

    fn node(&mut self, name: &str) -> Result<&mut Node> {
        let node = self.nodes.get_mut(name);
        node.with_context(|| format!("the cluster has {name}"))
    }

    fn take(&mut self, name: &str) -> Result<Running> {
        let running = self.node(name)?.running.take();
        running.with_context(|| format!("{name} runs"))
    }

    fn wait_until_up(&mut self, name: &str) -> Result<()> {
        let running = self.node(name)?.running.as_mut();
        let line = running
            .with_context(|| format!("{name} was started"))?
            .wait_for("\"grpc\"")
            .with_context(|| format!("{name} comes up"))?;
        let said: Value = serde_json::from_str(&line)?;
        let wanted = self.addresses(name)?;
        if said["grpc"].as_str() != Some(&wanted.grpc) {
            bail!("{name} was to listen on {}, and says {line}", wanted.grpc);
        }
        Ok(())
    }

    /// The command of a process.
    fn serve(&self, name: &str) -> Result<Command> {
        let role = name.split('-').next().unwrap_or(name);
        let Addresses { grpc, http } = self.addresses(name)?;
        let mut command = self.command()?;
        command
            .args(["serve", "--json", "--role", role])
            .args(["--grpc", grpc, "--http", http])
            .args(["--set", &format!("node.name={name}")])
            .args(["--set", "store.kind=postgres", "--set", "queue.kind=redis"]);
        for (key, other) in self.others(role) {
            command.args(["--set", &format!("services.{key}=http://{other}")]);
        }
        for setting in &self.options.set {
            command.args(["--set", setting]);
        }
        Ok(command)
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
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn command(&self) -> Result<Command> {
        let program = match &self.options.binary {
            Some(program) => program.clone(),
            None => binary()?,
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("FAPO__STORE__URL", &self.database_url)
            .env("FAPO__QUEUE__URL", &self.queue_url)
            .env("FAPO__NODE__DIR", self.folder.path().join("server"))
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        Ok(command)
    }
}
