//! The Redis server that a deployment shares: its connections, and whether it can be used.

use std::time::Duration;

use fapo_domain::error::{Classified, ErrorCode, Retry};
use fapo_domain::ports::queue::QueueError;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult,
    ScriptInvocation,
};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long one script may take, its way there and back included.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the other end may be silent before it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);
/// The oldest version whose commands the scripts know.
const OLDEST: (u32, u32) = (7, 0);

/// The layout of all keys. Two versions of fapo with different layouts do not see each other's keys; the reconciler fills
/// the new ones.
const LAYOUT: &str = "1";

/// A Redis server, under one deployment's prefix.
///
/// All clones share one connection, which is made anew with backoff when it is lost.
#[derive(Clone)]
pub struct RedisServer {
    client: Client,
    connection: ConnectionManager,
    prefix: String,
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the address may hold a password
        f.debug_struct("RedisServer")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisServerError {
    /// The address is not one.
    #[error(
        "the address of Redis is not one: write redis://[user:password@]host:port[/database], or unix:///path/to/socket"
    )]
    Address {
        /// What is wrong with it.
        #[source]
        source: RedisError,
    },
    /// The deployment's name is not one.
    #[error(
        "`{deployment}` cannot name a deployment's keys in Redis: use 1 to 64 of the characters a-z, 0-9, `-` and `_`"
    )]
    Deployment {
        /// The name.
        deployment: String,
    },
    /// It does not answer.
    #[error("Redis does not answer")]
    Unreachable {
        /// What happened.
        #[source]
        source: RedisError,
    },
    /// It is too old.
    #[error("Redis {found} is too old: fapo needs 7.0 or later")]
    Version {
        /// Its version.
        found: String,
    },
    /// It may throw keys away.
    #[error(
        "Redis evicts keys that fapo needs (maxmemory-policy {policy}): set `maxmemory-policy noeviction`, or one of \
         volatile-*, for which fapo's queues are no candidates"
    )]
    Eviction {
        /// Its policy.
        policy: String,
    },
}

impl Classified for RedisServerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Address { .. } | Self::Deployment { .. } => ErrorCode::InvalidArgument,
            Self::Unreachable { .. } => ErrorCode::Unavailable,
            Self::Version { .. } | Self::Eviction { .. } => ErrorCode::FailedPrecondition,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } => Retry::After(Duration::from_secs(1)),
            Self::Address { .. }
            | Self::Deployment { .. }
            | Self::Version { .. }
            | Self::Eviction { .. } => Retry::Never,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } | Self::Deployment { .. } => "REDIS_CONFIG",
            Self::Unreachable { .. } => "QUEUE_UNAVAILABLE",
            Self::Version { .. } | Self::Eviction { .. } => "REDIS_UNSUITABLE",
        }
    }
}

impl RedisServer {
    /// Connects to the server at `url` for the deployment of that name: deployments that share a server do not see each
    /// other's keys.
    ///
    /// # Errors
    /// When the address or the name cannot be used, the server does not answer, is older than 7.0, or may evict keys that
    /// have no time to live.
    pub async fn connect(url: &str, deployment: &str) -> Result<Self, RedisServerError> {
        let known = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
        if !(1..=64).contains(&deployment.len()) || !deployment.chars().all(known) {
            return Err(RedisServerError::Deployment {
                deployment: deployment.to_owned(),
            });
        }
        let client = url
            .into_connection_info()
            .map(|info: ConnectionInfo| info.set_tcp_settings(tcp_settings()))
            .and_then(Client::open)
            .map_err(|source| RedisServerError::Address { source })?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            // callers try again by themselves, and hear soon that there is nobody
            .set_number_of_retries(2)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(500));
        let connection = ConnectionManager::new_with_config(client.clone(), config)
            .await
            .map_err(|source| RedisServerError::Unreachable { source })?;
        let server = Self {
            client,
            connection,
            prefix: format!("fapo:{{{deployment}}}:{LAYOUT}"),
        };
        server.check().await?;
        Ok(server)
    }

    /// The start of all keys. The braces make it a hash tag: all keys are in one slot of a cluster.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A connection of its own that hears what is published.
    pub(crate) async fn subscription(&self) -> RedisResult<PubSub> {
        tokio::time::timeout(CONNECT, self.client.get_async_pubsub())
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }

    /// Runs a script. One whose connection broke is run once more: all of them may run twice.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, QueueError> {
        let mut connection = self.connection.clone();
        let mut answer = script.invoke_async(&mut connection).await;
        if let Err(error) = &answer
            && error.is_unrecoverable_error()
        {
            tracing::debug!(%error, operation, "the connection to Redis was lost; trying again");
            answer = script.invoke_async(&mut connection).await;
        }
        answer.map_err(|source| QueueError::Unavailable {
            operation,
            source: Box::new(source),
        })
    }

    async fn check(&self) -> Result<(), RedisServerError> {
        // unlike CONFIG GET, no provider forbids it
        let info: redis::InfoDict = redis::cmd("INFO")
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|source| RedisServerError::Unreachable { source })?;
        let found: String = info.get("redis_version").unwrap_or_default();
        let mut numbers = found.split('.').map(|number| number.parse::<u32>().ok());
        if let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next())
            && (major, minor) < OLDEST
        {
            return Err(RedisServerError::Version { found });
        }
        match info.get::<String>("maxmemory_policy") {
            Some(policy) if policy != "noeviction" && !policy.starts_with("volatile-") => {
                Err(RedisServerError::Eviction { policy })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Scripts are sent at once; a connection whose other end is silent for good is found dead by the kernel, and made anew.
fn tcp_settings() -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(SILENCE)
        .with_interval(SILENCE / 2);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE * 2);
    settings
}
