//! Where the database is, and how it is used.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::ports::StoreError;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// Where the database is and who logs in: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`.
///
/// Its `Debug` and `Display` give the place without the password. What the URL leaves out is taken from the variables that
/// every Postgres client knows (`PGPASSWORD`, `PGSSLMODE`, ..) and from `~/.pgpass`.
#[derive(Clone)]
pub struct DatabaseUrl(PgConnectOptions);

impl DatabaseUrl {
    /// The address as sqlx takes it.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        let options = self.0.clone();
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("fapo"),
        };
        options
            .statement_cache_capacity(256)
            .disable_statement_logging()
    }
}

impl FromStr for DatabaseUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let invalid = |message: &str| StoreError::Invalid {
            message: format!(
                "the database URL {message}: write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE"
            ),
        };
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(invalid("does not start with postgres://"));
        }
        // the parser's own words could repeat the password
        let options =
            PgConnectOptions::from_str(text).map_err(|_| invalid("cannot be understood"))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(invalid("names no database"));
        }
        Ok(Self(options))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.0.get_database().unwrap_or_default();
        match self.0.get_socket() {
            Some(socket) => write!(f, "Postgres at {}/{database}", socket.display()),
            None => write!(
                f,
                "Postgres at {}:{}/{database}",
                self.0.get_host(),
                self.0.get_port()
            ),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// How a [`crate::PgStore`] uses its database.
#[derive(Clone)]
pub struct PgOptions {
    /// The database.
    pub url: DatabaseUrl,
    /// Most connections of this process. All processes together must stay below the server's `max_connections`.
    pub connections: u32,
    /// How long a call waits for a free connection before it is `Unavailable`.
    pub acquire_timeout: Duration,
    /// How long the server works on one statement, waiting for locks included, before it gives up. A transaction in which
    /// nothing happens for as long is ended by the server, so that a process that hangs holds nobody up for good.
    pub statement_timeout: Duration,
    /// Whether the schema is brought up to date. Where it is not, one that is older is refused.
    pub migrate: bool,
    /// Called after each durable commit with its running number in this process, from 1, before anybody hears of its
    /// success. Crash tests end the process here.
    pub on_commit: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

impl PgOptions {
    /// The usual: ten connections, ten seconds for one to be free, thirty for a statement.
    pub fn new(url: DatabaseUrl) -> Self {
        Self {
            url,
            connections: 10,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            migrate: true,
            on_commit: None,
        }
    }
}

impl fmt::Debug for PgOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("url", &self.url)
            .field("connections", &self.connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("on_commit", &self.on_commit.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let url: DatabaseUrl = "postgres://me:sec%20ret@db.example:6000/fapo"
            .parse()
            .unwrap();
        let options = PgOptions::new(url.clone());
        for text in [format!("{url}"), format!("{url:?}"), format!("{options:?}")] {
            assert!(text.contains("db.example:6000/fapo"), "{text}");
            assert!(!text.contains("sec") && !text.contains("ret"), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_database_is_told_without_repeating_it() {
        for odd in [
            "",
            "secret",
            "mysql://u:secret@h/d",
            "postgres://u:secret@h:port/d",
        ] {
            let error = odd.parse::<DatabaseUrl>().unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, StoreError::Invalid { .. }));
            assert!(
                text.contains("postgres://USER") && !text.contains("secret"),
                "{text}"
            );
        }
    }
}
