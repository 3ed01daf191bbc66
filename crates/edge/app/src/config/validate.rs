//! From what was written to what can be run: all that does not fit is found at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::layers::Layers;
use super::raw::{AuthMode, QueueKind, RawConfig, RoleName, StoreKind};
use super::server::{KeepFor, Listen, Node, Role, ServerConfig};

mod parts;
mod secrets;
#[cfg(test)]
mod tests;

/// What a role asks of others: who asks, the key of the other's address, the role that spares it.
const NEEDS: [(Role, &str, Role); 3] = [
    (Role::Gateway, "services.optimizer", Role::Orchestrator),
    (Role::Diagnosis, "services.executor", Role::Executor),
    (Role::Diagnosis, "services.scoring", Role::Scoring),
];

/// Roles that only exist where the work is: a queue within one process reaches no other.
const WORKING: [Role; 4] = [
    Role::Orchestrator,
    Role::Executor,
    Role::Scoring,
    Role::Diagnosis,
];

/// Looks at the layers as a whole. What was wrong in one layer already counts, too.
///
/// # Errors
/// Everything that is wrong, each with key and place.
pub fn validate(mut layers: Layers) -> Result<ServerConfig, Layers> {
    let raw = layers.raw();
    let config = Check {
        layers: &mut layers,
        raw: &raw,
    }
    .all();
    if layers.problems.has_errors() {
        layers.problems.sort();
        return Err(layers);
    }
    Ok(config)
}

/// One look. Where something is wrong it says so, and goes on with a value that is as good as any.
pub(super) struct Check<'a> {
    pub(super) layers: &'a mut Layers,
    pub(super) raw: &'a RawConfig,
}

impl Check<'_> {
    /// Adds a problem of the value at `key`.
    pub(super) fn wrong(&mut self, key: &str, message: impl Into<String>, help: &str) {
        self.layers.complain(key, "invalid", message.into(), help);
    }

    fn all(mut self) -> ServerConfig {
        let node = self.node();
        self.alone(&node);
        self.needs(&node);
        self.auth();
        self.telemetry_rules();
        ServerConfig {
            listen: self.listen(),
            store: self.store(&node.dir),
            migrate: self.raw.store.migrate,
            queue: self.queue(),
            services: self.services(),
            workers: self.workers(),
            auth: self.raw.auth.mode,
            limits: self.limits(),
            tls: self.tls(),
            telemetry: self.telemetry(),
            models: self.models(),
            retention: KeepFor {
                traces: self.raw.retention.traces.0,
                cache: self.raw.retention.cache.0,
                every: self.at_least("retention.every", self.raw.retention.every.0, SECOND),
            },
            node,
        }
    }

    fn node(&mut self) -> Node {
        let raw = &self.raw.node;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.bytes().all(is_plain) {
            self.wrong(
                "node.name",
                format!("{:?} is no name", raw.name),
                "1 to 64 letters, digits, `-`, `_` or `.`",
            );
        }
        if raw.roles.is_empty() {
            self.wrong(
                "node.roles",
                "a process without a role does nothing",
                "`all`, or any of gateway, orchestrator, executor, traces, scoring, diagnosis",
            );
        }
        if raw.dir.is_empty() {
            self.wrong("node.dir", "no folder is named", "such as .fapo-server");
        }
        Node {
            name: raw.name.clone(),
            roles: roles(&raw.roles),
            dir: PathBuf::from(&raw.dir),
            grace: self.at_least("node.grace", raw.grace.0, SECOND),
            start_timeout: raw.start_timeout.0,
        }
    }

    fn listen(&mut self) -> Listen {
        let raw = &self.raw.listen;
        let grpc = self.address("listen.grpc", &raw.grpc);
        let http = self.address("listen.http", &raw.http);
        if grpc == http && grpc.port() != 0 {
            self.wrong(
                "listen.grpc",
                "gRPC and HTTP have the same address",
                "each needs a port of its own",
            );
        }
        Listen { grpc, http }
    }

    fn address(&mut self, key: &str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.wrong(
                key,
                format!("{text:?} is no address to listen on"),
                "an IP address and a port, such as 127.0.0.1:7401 or 0.0.0.0:7401",
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    /// What is within one process only.
    fn alone(&mut self, node: &Node) {
        let (store, queue) = (self.raw.store.kind, self.raw.queue.kind);
        if queue == QueueKind::Memory && store == StoreKind::Postgres {
            self.wrong(
                "queue.kind",
                "a queue in memory goes with SQLite only: other processes on the same Postgres would not hear of work",
                "queue.kind = \"redis\", with queue.url_file",
            );
        }
        if queue == QueueKind::Redis && store == StoreKind::Sqlite {
            self.wrong(
                "store.kind",
                "a queue in Redis is for several processes, which cannot share a SQLite file",
                "store.kind = \"postgres\", with store.url_file; or queue.kind = \"memory\"",
            );
        }
        let missing: Vec<&str> = WORKING
            .iter()
            .filter(|role| !node.has(**role))
            .map(|role| role.as_str())
            .collect();
        if queue == QueueKind::Memory && store == StoreKind::Sqlite && !missing.is_empty() {
            self.wrong(
                "node.roles",
                format!(
                    "with SQLite and a queue in memory one process has all roles; {} would be missing",
                    missing.join(", ")
                ),
                "--role all; or store.kind = \"postgres\" and queue.kind = \"redis\"",
            );
        }
    }

    /// The roles that are needed and neither here nor named.
    fn needs(&mut self, node: &Node) {
        let mut asks_others = false;
        for (role, key, spares) in NEEDS {
            if !node.has(role) || node.has(spares) {
                continue;
            }
            asks_others = true;
            if self.text(key).is_empty() {
                self.wrong(
                    key,
                    format!("the role {role} needs the address of {spares}, which is not in this process"),
                    &format!("such as http://{spares}:7401; or add --role {spares}"),
                );
            }
        }
        let services = &self.raw.services;
        let has_token = !services.token.is_empty() || !services.token_file.is_empty();
        if asks_others && self.raw.auth.mode == AuthMode::Tokens && !has_token {
            self.wrong(
                "services.token_file",
                "calls between roles need a token where auth.mode is tokens",
                "`fapo token create --role service --name cluster` makes one",
            );
        }
    }

    /// The text at a key.
    fn text(&self, key: &str) -> String {
        super::layers::find(&self.layers.values, key)
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    fn auth(&mut self) {
        let raw = &self.raw.auth;
        if raw.mode == AuthMode::Tokens || raw.allow_insecure {
            return;
        }
        for (key, text) in [
            ("listen.grpc", &self.raw.listen.grpc),
            ("listen.http", &self.raw.listen.http),
        ] {
            let others_reach = text
                .parse()
                .is_ok_and(|address: SocketAddr| !address.ip().is_loopback());
            if others_reach {
                self.wrong(
                    key,
                    "others can reach this address, and auth.mode is off: they could do everything",
                    "auth.mode = \"tokens\"; or, in a network where all are trusted, auth.allow_insecure = true",
                );
            }
        }
    }

    /// A period that must not be shorter than `least`.
    fn at_least(&mut self, key: &str, period: Duration, least: Duration) -> Duration {
        if period < least {
            let least = super::units::Period(least);
            self.wrong(key, "this is too short", &format!("at least {least}"));
        }
        period
    }
}

/// The shortest of what a person waits for.
const SECOND: Duration = Duration::from_secs(1);
/// The shortest of what a machine waits for.
const TICK: Duration = Duration::from_millis(100);

fn roles(names: &[RoleName]) -> BTreeSet<Role> {
    names
        .iter()
        .flat_map(|name| match name {
            RoleName::All => Role::ALL.to_vec(),
            RoleName::Gateway => vec![Role::Gateway],
            RoleName::Orchestrator => vec![Role::Orchestrator],
            RoleName::Executor => vec![Role::Executor],
            RoleName::Traces => vec![Role::Traces],
            RoleName::Scoring => vec![Role::Scoring],
            RoleName::Diagnosis => vec![Role::Diagnosis],
        })
        .collect()
}
