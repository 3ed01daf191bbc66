-- Sessions of coding agents: one row each, with the transcript as a blob. `body` is the record as packed JSON.

CREATE TABLE sessions (
    id         BLOB NOT NULL PRIMARY KEY,
    job        BLOB NOT NULL,
    started_at INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_job ON sessions (job, started_at);
