-- What the team's form needs: pauses, distributed traces, whose an evaluation is, tokens, and keys of repeated requests.

ALTER TABLE jobs ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN trace TEXT;
ALTER TABLE tasks ADD COLUMN trace TEXT;
CREATE INDEX tasks_dead ON tasks (job, seq) WHERE state = 'dead';

-- The evaluations of each job, as its tasks name them. `spec` is packed JSON.
CREATE TABLE job_evaluations (
    seq  INTEGER PRIMARY KEY,
    job  BLOB NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    spec BLOB NOT NULL
) STRICT;
CREATE INDEX job_evaluations_by_job ON job_evaluations (job, seq);

-- `hash` is that of the token's whole text; the text itself is nowhere.
CREATE TABLE tokens (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    hash       BLOB NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    project    TEXT,
    role       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE TABLE requests (
    project     TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    job         BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (project, key)
) STRICT, WITHOUT ROWID;
