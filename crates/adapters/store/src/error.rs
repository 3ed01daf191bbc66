//! What goes wrong inside the store, and how it is told outside.

use fapo_domain::ports::StoreError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error on its way out; [`Failure::explain`] adds what was being done, and where.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database said no.
    Sql(sqlx::Error),
    /// A rule of a port was broken; told as it is.
    Port(StoreError),
    /// A stored value cannot be read.
    Corrupt(Source),
    /// The file system said no.
    Io(std::io::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // a column that does not hold what its table says: not ours, or damaged
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. } => Self::Corrupt(Box::new(error)),
            other => Self::Sql(other),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Port(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::Corrupt(message.into().into())
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Port(StoreError::Invalid {
            message: message.into(),
        })
    }

    pub(crate) fn not_found(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self::Port(StoreError::NotFound {
            kind,
            id: id.to_string(),
        })
    }

    pub(crate) fn exists(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self::Port(StoreError::AlreadyExists {
            kind,
            id: id.to_string(),
        })
    }

    /// The port error: `operation` reads on from "while trying to", `place` is the file or server.
    pub(crate) fn explain(self, operation: &'static str, place: &str) -> StoreError {
        let error = match self {
            Self::Port(error) => return error,
            Self::Corrupt(source) => return StoreError::Corrupt { operation, source },
            Self::Io(source) => {
                return StoreError::Unwritable {
                    place: place.to_owned(),
                    source: Box::new(source),
                };
            }
            Self::Sql(error) => error,
        };
        match class(&error) {
            Class::Unwritable => StoreError::Unwritable {
                place: place.to_owned(),
                source: Box::new(error),
            },
            Class::Corrupt => StoreError::Corrupt {
                operation,
                source: Box::new(error),
            },
            Class::Invalid => StoreError::Invalid {
                message: format!(
                    "a text that the store cannot hold, while trying to {operation}: {error}"
                ),
            },
            Class::Passing => StoreError::Unavailable {
                operation,
                source: Box::new(error),
            },
        }
    }
}

/// What a database's error means for whoever meets it.
enum Class {
    /// Nothing can be written, and trying again does not help.
    Unwritable,
    /// What is stored, or the schema, is not what this program expects.
    Corrupt,
    /// The value cannot be stored.
    Invalid,
    /// Busy, locked, out of memory, a closed connection: another try may do.
    Passing,
}

fn class(error: &sqlx::Error) -> Class {
    if let Some(state) = sqlstate(error) {
        return postgres_class(state);
    }
    match primary_code(error) {
        Some(code::FULL | code::READONLY | code::CANTOPEN | code::PERM | code::IOERR) => {
            Class::Unwritable
        }
        Some(code::CORRUPT | code::NOTADB) => Class::Corrupt,
        _ => Class::Passing,
    }
}

/// By SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn postgres_class(state: &str) -> Class {
    match state {
        // the disk is full; the server, or the login, may only read; the disk fails
        "53100" | "25006" | "42501" | "58030" => Class::Unwritable,
        // the login is refused, there is no such database
        "28000" | "28P01" | "3D000" => Class::Unwritable,
        // a text with a NUL character, or none at all
        "22021" | "22P05" => Class::Invalid,
        // damaged data or indexes
        "XX001" | "XX002" => Class::Corrupt,
        // a table or column that is not there, a value that does not fit its column, a broken constraint: the schema is
        // another one than this program was made for
        _ if state.starts_with("42") || state.starts_with("22") || state.starts_with("23") => {
            Class::Corrupt
        }
        // broken off, timed out, no connection left, shutting down or starting up
        _ => Class::Passing,
    }
}

/// Whether Postgres broke the transaction off for the sake of others: a failed serialization, a deadlock. It changed nothing
/// and may be run again.
pub(crate) fn is_broken_off(failure: &Failure) -> bool {
    match failure {
        Failure::Sql(error) => matches!(sqlstate(error), Some("40001" | "40P01")),
        Failure::Port(_) | Failure::Corrupt(_) | Failure::Io(_) => false,
    }
}

/// Whether Postgres gave up waiting for a lock.
pub(crate) fn is_lock_timeout(failure: &Failure) -> bool {
    match failure {
        Failure::Sql(error) => sqlstate(error) == Some("55P03"),
        Failure::Port(_) | Failure::Corrupt(_) | Failure::Io(_) => false,
    }
}

/// Whether the connection to Postgres was lost. A transaction whose commit was not sent did not happen, then.
pub(crate) fn is_connection_lost(failure: &Failure) -> bool {
    let Failure::Sql(error) = failure else {
        return false;
    };
    match sqlstate(error) {
        // the connection's own errors; shutting down, crashed, starting up; a transaction in which nothing happened for too long
        Some(state) => {
            state.starts_with("08") || matches!(state, "57P01" | "57P02" | "57P03" | "25P03")
        }
        None => matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed
        ),
    }
}

/// Postgres's code for an error; `None` for SQLite's.
fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?;
    let error = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    Some(error.code())
}

/// SQLite's primary result codes (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
}

/// Whether another process is at it.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::BUSY)
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// A store that this program must not touch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    /// Written by a later version.
    #[error(
        "{place} was written by a newer fapo (schema {found}; this one knows up to {known}): update fapo"
    )]
    Newer {
        /// The file or database.
        place: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Some other program's database.
    #[error("{place} is a database of another program: name another place")]
    Foreign {
        /// The file or database.
        place: String,
    },
}

/// One error handed to each of several callers whose work was joined.
#[derive(Debug, Clone)]
pub(crate) struct Shared(std::sync::Arc<StoreError>);

impl Shared {
    pub(crate) fn new(error: StoreError) -> Self {
        Self(std::sync::Arc::new(error))
    }

    /// The error for one caller: the same variant, with the shared one as its source.
    pub(crate) fn tell(&self) -> StoreError {
        match &*self.0 {
            StoreError::Unwritable { place, .. } => StoreError::Unwritable {
                place: place.clone(),
                source: Box::new(Cause(self.clone())),
            },
            StoreError::Corrupt { operation, .. } => StoreError::Corrupt {
                operation,
                source: Box::new(Cause(self.clone())),
            },
            StoreError::Unavailable { operation, .. } => StoreError::Unavailable {
                operation,
                source: Box::new(Cause(self.clone())),
            },
            StoreError::NotFound { .. }
            | StoreError::AlreadyExists { .. }
            | StoreError::StaleLease { .. }
            | StoreError::VersionConflict { .. }
            | StoreError::Invalid { .. } => StoreError::Unavailable {
                operation: "apply joined writes",
                source: Box::new(Cause(self.clone())),
            },
        }
    }
}

/// Stands for the source of a shared error, so that a chain reads the same for each caller.
#[derive(Debug)]
struct Cause(Shared);

impl Cause {
    fn inner(&self) -> &(dyn std::error::Error + 'static) {
        let outer: &(dyn std::error::Error + 'static) = &*self.0.0;
        outer.source().unwrap_or(outer)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self.inner(), f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner().source()
    }
}
