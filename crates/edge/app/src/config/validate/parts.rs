//! What each section says by itself.

use std::path::{Path, PathBuf};

use super::{Check, SECOND, TICK};
use crate::config::raw::{QueueKind, StoreKind};
use crate::config::server::{Limits, ModelAccess, Queue, Services, Store, Telemetry, Tls, Workers};
use crate::config::units::Secret;

/// Connections that a process needs at least: a claim, its heartbeat and a reader must never wait for each other.
const SMALLEST_POOL: u32 = 4;

impl Check<'_> {
    pub(super) fn store(&mut self, dir: &Path) -> Store {
        let raw = &self.raw.store;
        let url = self.secret("store.url", &raw.url, "store.url_file", &raw.url_file);
        match raw.kind {
            StoreKind::Sqlite => Store::Sqlite {
                path: if raw.path.is_empty() {
                    dir.join("fapo.db")
                } else {
                    PathBuf::from(&raw.path)
                },
            },
            StoreKind::Postgres => {
                let schemes = ["postgres://", "postgresql://"];
                self.server_url("store.url", &url, &schemes);
                if raw.pool < SMALLEST_POOL || raw.pool > 1000 {
                    self.wrong(
                        "store.pool",
                        format!("{} connections are too few or too many", raw.pool),
                        "4 to 1000; all processes together stay below max_connections of Postgres",
                    );
                }
                Store::Postgres {
                    url,
                    pool: raw.pool,
                    acquire_timeout: self.at_least(
                        "store.acquire_timeout",
                        raw.acquire_timeout.0,
                        TICK,
                    ),
                    statement_timeout: self.at_least(
                        "store.statement_timeout",
                        raw.statement_timeout.0,
                        SECOND,
                    ),
                }
            }
        }
    }

    pub(super) fn queue(&mut self) -> Queue {
        let raw = &self.raw.queue;
        let url = self.secret("queue.url", &raw.url, "queue.url_file", &raw.url_file);
        if raw.kind == QueueKind::Memory {
            return Queue::Memory;
        }
        self.server_url("queue.url", &url, &["redis://", "rediss://", "unix://"]);
        let is_plain =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"-_".contains(&byte);
        if raw.prefix.is_empty() || raw.prefix.len() > 64 || !raw.prefix.bytes().all(is_plain) {
            self.wrong(
                "queue.prefix",
                format!("{:?} cannot begin a key", raw.prefix),
                "1 to 64 of a-z, 0-9, `-` and `_`",
            );
        }
        if raw.max_waiting < 1_000 {
            self.wrong(
                "queue.max_waiting",
                "so few would leave workers without work",
                "at least 1000",
            );
        }
        Queue::Redis {
            url,
            prefix: raw.prefix.clone(),
            max_waiting: raw.max_waiting,
            shared_limits: raw.shared_limits,
        }
    }

    pub(super) fn services(&mut self) -> Services {
        let raw = &self.raw.services;
        let token = self.secret(
            "services.token",
            &raw.token,
            "services.token_file",
            &raw.token_file,
        );
        let ca = self
            .read_file("services.ca_file", &raw.ca_file)
            .map(|_| PathBuf::from(&raw.ca_file));
        Services {
            executor: self.service("services.executor", &raw.executor),
            traces: self.service("services.traces", &raw.traces),
            scoring: self.service("services.scoring", &raw.scoring),
            optimizer: self.service("services.optimizer", &raw.optimizer),
            token: Some(token).filter(|token| !token.is_empty()),
            ca,
            timeout: self.at_least("services.timeout", raw.timeout.0, SECOND),
        }
    }

    fn service(&mut self, key: &str, url: &str) -> Option<String> {
        if url.is_empty() {
            return None;
        }
        if !is_http(url) {
            self.wrong(
                key,
                format!("{url:?} is no address of a role"),
                "such as http://executor:7401",
            );
        }
        Some(url.to_owned())
    }

    pub(super) fn workers(&mut self) -> Workers {
        let raw = &self.raw.workers;
        let numbers = [
            ("workers.job", raw.job),
            ("workers.execute", raw.execute),
            ("workers.score", raw.score),
            ("workers.diagnose", raw.diagnose),
            ("workers.propose", raw.propose),
            ("workers.review", raw.review),
            ("workers.max_attempts", raw.max_attempts),
        ];
        for (key, number) in numbers {
            if number == 0 || number > 1024 {
                self.wrong(key, format!("{number} cannot be"), "1 to 1024");
            }
        }
        self.at_least("workers.heartbeat", raw.heartbeat.0, TICK);
        if raw.lease.0 < raw.heartbeat.0.saturating_mul(3) {
            self.wrong(
                "workers.lease",
                format!(
                    "a lease of {} is less than three heartbeats of {}: one that is late would lose the task",
                    raw.lease, raw.heartbeat
                ),
                "at least three times workers.heartbeat",
            );
        }
        self.at_least("workers.reconcile_every", raw.reconcile_every.0, TICK);
        self.at_least("workers.sample_every", raw.sample_every.0, SECOND);
        Workers::new(raw.clone())
    }

    pub(super) fn limits(&mut self) -> Limits {
        let raw = &self.raw.limits;
        for (key, size) in [("limits.body", raw.body), ("limits.file", raw.file)] {
            if size.0 < 64 << 10 || size.0 > 1 << 30 {
                self.wrong(key, format!("{size} cannot be the most"), "64KiB to 1GiB");
            }
        }
        for (key, number) in [
            ("limits.concurrency", raw.concurrency),
            ("limits.requests_per_minute", raw.requests_per_minute),
        ] {
            if number == 0 {
                self.wrong(key, "nobody could ask anything", "at least 1");
            }
        }
        Limits {
            body: usize::try_from(raw.body.0).unwrap_or(usize::MAX),
            file: usize::try_from(raw.file.0).unwrap_or(usize::MAX),
            request_timeout: self.at_least("limits.request_timeout", raw.request_timeout.0, SECOND),
            concurrency: usize::try_from(raw.concurrency).unwrap_or(usize::MAX),
            requests_per_minute: raw.requests_per_minute,
            trust_proxy: raw.trust_proxy,
        }
    }

    pub(super) fn tls(&mut self) -> Option<Tls> {
        let raw = &self.raw.tls;
        match (raw.cert_file.is_empty(), raw.key_file.is_empty()) {
            (true, true) => return None,
            (false, false) => {}
            (true, false) => {
                let message = "a key without its certificate";
                self.wrong("tls.cert_file", message, "both files, or neither");
            }
            (false, true) => {
                let message = "a certificate without its key";
                self.wrong("tls.key_file", message, "both files, or neither");
            }
        }
        // who serves with them reads them again, and says what is wrong inside
        self.read_file("tls.cert_file", &raw.cert_file)?;
        self.read_file("tls.key_file", &raw.key_file)?;
        Some(Tls {
            cert_file: PathBuf::from(&raw.cert_file),
            key_file: PathBuf::from(&raw.key_file),
        })
    }

    pub(super) fn telemetry_rules(&mut self) {
        let raw = &self.raw.telemetry;
        if !(0.0..=1.0).contains(&raw.sampling) {
            self.wrong(
                "telemetry.sampling",
                format!("{} is no part of a whole", raw.sampling),
                "0 to 1",
            );
        }
        if !raw.otlp_endpoint.is_empty() && !is_http(&raw.otlp_endpoint) {
            self.wrong(
                "telemetry.otlp_endpoint",
                format!("{:?} is no address of a collector", raw.otlp_endpoint),
                "such as http://otel-collector:4317",
            );
        }
    }

    pub(super) fn telemetry(&mut self) -> Telemetry {
        let raw = &self.raw.telemetry;
        let headers = self.read_file("telemetry.otlp_headers_file", &raw.otlp_headers_file);
        let mut otlp_headers = Vec::new();
        for line in headers.as_deref().unwrap_or_default().lines() {
            if line.trim().is_empty() {
                continue;
            }
            match line.split_once(':') {
                Some((name, value)) => {
                    otlp_headers.push((name.trim().to_lowercase(), Secret::new(value.trim())));
                }
                // not the line itself: it may be a secret
                None => self.wrong(
                    "telemetry.otlp_headers_file",
                    "a line of the file is no header",
                    "one `name: value` a line",
                ),
            }
        }
        Telemetry {
            otlp_endpoint: Some(raw.otlp_endpoint.clone()).filter(|url| !url.is_empty()),
            otlp_headers,
            sampling: raw.sampling,
            content: raw.content,
            log_format: raw.log_format,
            log_filter: raw.log_filter.clone(),
        }
    }

    pub(super) fn models(&mut self) -> ModelAccess {
        let raw = &self.raw.models;
        for name in &raw.env {
            let plain = name.strip_suffix('*').unwrap_or(name);
            if plain.is_empty() || plain.contains('*') {
                self.wrong(
                    "models.env",
                    format!("{name:?} names no variable, or all of them"),
                    "a name, or the beginning of names with a * at its end",
                );
            } else if "FAPO__".starts_with(plain) || plain.starts_with("FAPO__") {
                self.wrong(
                    "models.env",
                    format!("{name:?} would show projects the server's own configuration"),
                    "FAPO_MODEL_* is a good beginning for variables of your own",
                );
            }
        }
        let listed = raw.base_urls.iter().map(String::as_str);
        let addresses = fapo_llm::Addresses::listed(listed).unwrap_or_else(|error| {
            self.wrong(
                "models.base_urls",
                error.to_string(),
                "each up to and including its path, such as https://llm.example.com/v1",
            );
            fapo_llm::Addresses::listed([]).expect("an empty list holds nothing bad")
        });
        let prices = self.read_file("models.prices_file", &raw.prices_file);
        if let Some(text) = &prices
            && let Err(error) = fapo_llm::PriceTable::load(fapo_llm::DEFAULT_PRICES, Some(text))
        {
            let message = fapo_domain::error::chain(&error);
            self.wrong(
                "models.prices_file",
                message,
                "as crates/adapters/llm/prices.toml",
            );
        }
        ModelAccess {
            env: raw.env.clone(),
            addresses,
            prices,
        }
    }
}

/// Whether this is an address that a client can call.
fn is_http(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}
