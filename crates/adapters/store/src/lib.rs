//! The SQLite store behind the domain's persistence ports (sqlx).
