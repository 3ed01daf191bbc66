-- The first schema. Hashes are 32-byte BLOBs, job ids 16-byte BLOBs, times milliseconds since 1970, money micro-dollars.
-- A column called `body`, or said to be packed, holds one tag byte and then the bytes as they are or compressed (see codec.rs).

-- content ------------------------------------------------------------------------------------------------------------

-- Content-addressed bytes. A rowid table: bodies are large, and appending them beats spreading them over a tree by hash.
CREATE TABLE blobs (
    seq  INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE variants (
    id         BLOB NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE variant_files (
    variant BLOB NOT NULL REFERENCES variants (id),
    path    TEXT NOT NULL,
    blob    BLOB NOT NULL REFERENCES blobs (hash),
    PRIMARY KEY (variant, path)
) STRICT, WITHOUT ROWID;

-- data ---------------------------------------------------------------------------------------------------------------

-- A version, or an import under way while `hash` is null.
CREATE TABLE datasets (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    hash            BLOB UNIQUE,
    project         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    duplicates      INTEGER NOT NULL DEFAULT 0,
    near_duplicates TEXT
) STRICT;

-- Narrow, so that passes over all cases do not read their bodies. `split`: 0 train, 1 val, 2 test.
CREATE TABLE cases (
    seq     INTEGER PRIMARY KEY,
    dataset INTEGER NOT NULL,
    split   INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    case_id TEXT NOT NULL,
    digest  BLOB NOT NULL
) STRICT;
CREATE INDEX cases_by_ordinal ON cases (dataset, split, ordinal);
CREATE UNIQUE INDEX cases_by_id ON cases (dataset, case_id);

CREATE TABLE case_bodies (
    seq  INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- What is needed of a case only until its import is committed: where it came from, and what it is like.
CREATE TABLE import_rows (
    seq     INTEGER PRIMARY KEY,
    dataset INTEGER NOT NULL,
    split   INTEGER NOT NULL,
    file    TEXT NOT NULL,
    line    INTEGER NOT NULL,
    exact   INTEGER,
    band0   INTEGER,
    band1   INTEGER,
    band2   INTEGER,
    band3   INTEGER
) STRICT;

-- work ---------------------------------------------------------------------------------------------------------------

CREATE TABLE jobs (
    seq         INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    project     TEXT NOT NULL,
    spec        BLOB NOT NULL,
    status      TEXT NOT NULL,
    version     INTEGER NOT NULL,
    state       BLOB NOT NULL,
    test_opened BLOB,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_running ON jobs (seq) WHERE status = 'running';

CREATE TABLE job_events (
    job  BLOB NOT NULL REFERENCES jobs (id),
    seq  INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE lineage (
    job        BLOB NOT NULL REFERENCES jobs (id),
    seq        INTEGER NOT NULL,
    child      BLOB NOT NULL,
    parents    BLOB NOT NULL,
    iteration  INTEGER NOT NULL,
    level      TEXT,
    technique  TEXT,
    hypothesis TEXT NOT NULL,
    files      INTEGER NOT NULL,
    added      INTEGER NOT NULL,
    removed    INTEGER NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE decisions (
    job       BLOB NOT NULL REFERENCES jobs (id),
    seq       INTEGER NOT NULL,
    iteration INTEGER NOT NULL,
    what      TEXT NOT NULL,
    reason    TEXT NOT NULL,
    evidence  TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

-- `epoch` counts claims and never goes back; `forgiven` is the epoch from which attempts are counted.
CREATE TABLE tasks (
    seq         INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    job         BLOB NOT NULL REFERENCES jobs (id),
    topic       TEXT NOT NULL,
    payload     BLOB NOT NULL,
    state       TEXT NOT NULL,
    epoch       INTEGER NOT NULL DEFAULT 0,
    forgiven    INTEGER NOT NULL DEFAULT 0,
    owner       TEXT,
    lease_until INTEGER,
    not_before  INTEGER NOT NULL,
    result      BLOB,
    reason      TEXT,
    consumed    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX tasks_open ON tasks (seq) WHERE state IN ('queued', 'leased');
CREATE INDEX tasks_open_by_job ON tasks (job) WHERE state IN ('queued', 'leased');
CREATE INDEX tasks_finished ON tasks (job, seq) WHERE consumed = 0 AND state IN ('done', 'dead');

CREATE TABLE proposals (
    task       BLOB NOT NULL PRIMARY KEY,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- results ------------------------------------------------------------------------------------------------------------

-- Short numbers for evaluation ids: the key of every row below.
CREATE TABLE evaluations (
    id   INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE
) STRICT;

-- `full_spend` (here and in steps): what it would have cost without the step cache, as a JSON array of the six numbers of
-- the spend; null where that is the spend itself. `full_cost` is its money. `cached`: whether any step was a cache hit.
-- `full_duration_ms`: how long it would have taken without the step cache.
CREATE TABLE runs (
    evaluation       INTEGER NOT NULL,
    ordinal          INTEGER NOT NULL,
    case_id          TEXT NOT NULL,
    status           TEXT NOT NULL,
    reason           TEXT,
    output_text      BLOB,
    output_json      BLOB,
    cost             INTEGER NOT NULL,
    model_calls      INTEGER NOT NULL,
    input_tokens     INTEGER NOT NULL,
    output_tokens    INTEGER NOT NULL,
    cached_tokens    INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    full_spend       TEXT,
    full_cost        INTEGER NOT NULL,
    cached           INTEGER NOT NULL,
    started_at       INTEGER NOT NULL,
    duration_ms      INTEGER NOT NULL,
    full_duration_ms INTEGER NOT NULL,
    PRIMARY KEY (evaluation, ordinal)
) STRICT, WITHOUT ROWID;

-- `input` and `output` are packed JSON, or the hash of a blob that holds it. `n` is the place in the record.
CREATE TABLE steps (
    evaluation       INTEGER NOT NULL,
    ordinal          INTEGER NOT NULL,
    n                INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    step             TEXT NOT NULL,
    kind             TEXT NOT NULL,
    status           TEXT NOT NULL,
    key              BLOB,
    cache_hit        INTEGER NOT NULL,
    input            BLOB,
    output           BLOB,
    finish           TEXT,
    error_kind       TEXT,
    error            TEXT,
    cost             INTEGER NOT NULL,
    model_calls      INTEGER NOT NULL,
    input_tokens     INTEGER NOT NULL,
    output_tokens    INTEGER NOT NULL,
    cached_tokens    INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    full_spend       TEXT,
    attempts         INTEGER NOT NULL,
    started_ms       INTEGER NOT NULL,
    duration_ms      INTEGER NOT NULL,
    full_duration_ms INTEGER NOT NULL,
    PRIMARY KEY (evaluation, ordinal, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE scores (
    evaluation INTEGER NOT NULL,
    ordinal    INTEGER NOT NULL,
    case_id    TEXT NOT NULL,
    status     TEXT NOT NULL,
    score      REAL NOT NULL,
    breakdown  TEXT NOT NULL,
    feedback   TEXT NOT NULL,
    scorer     BLOB NOT NULL,
    PRIMARY KEY (evaluation, ordinal)
) STRICT, WITHOUT ROWID;

-- `body` is the attribution without its clusters, which have rows of their own.
CREATE TABLE attributions (
    evaluation INTEGER PRIMARY KEY,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE clusters (
    evaluation INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    id         TEXT NOT NULL,
    level      TEXT NOT NULL,
    failures   INTEGER NOT NULL,
    points     REAL NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (evaluation, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE findings (
    evaluation INTEGER NOT NULL,
    ordinal    INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    case_id    TEXT NOT NULL,
    step       TEXT NOT NULL,
    rule       TEXT NOT NULL,
    level      TEXT NOT NULL,
    confidence REAL NOT NULL,
    lost       REAL NOT NULL,
    detail     TEXT NOT NULL,
    PRIMARY KEY (evaluation, ordinal, n)
) STRICT, WITHOUT ROWID;

-- money and cache ----------------------------------------------------------------------------------------------------

-- `reserved_*` and `lost_*` are the sums over the job's reservations, kept so that a cap is checked on one row.
CREATE TABLE accounts (
    job            BLOB NOT NULL PRIMARY KEY,
    cap_cost       INTEGER,
    cap_calls      INTEGER,
    reserved_cost  INTEGER NOT NULL DEFAULT 0,
    reserved_calls INTEGER NOT NULL DEFAULT 0,
    lost_cost      INTEGER NOT NULL DEFAULT 0,
    lost_calls     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    job              BLOB NOT NULL,
    role             TEXT NOT NULL,
    cost             INTEGER NOT NULL,
    model_calls      INTEGER NOT NULL,
    input_tokens     INTEGER NOT NULL,
    output_tokens    INTEGER NOT NULL,
    cached_tokens    INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    PRIMARY KEY (job, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
    job        BLOB NOT NULL,
    task       BLOB NOT NULL,
    epoch      INTEGER NOT NULL,
    cost       INTEGER NOT NULL,
    calls      INTEGER NOT NULL,
    lost_cost  INTEGER NOT NULL,
    lost_calls INTEGER NOT NULL,
    PRIMARY KEY (job, task, epoch)
) STRICT, WITHOUT ROWID;

-- `body`: a cached step as JSON.
CREATE TABLE step_cache (
    seq        INTEGER PRIMARY KEY,
    key        BLOB NOT NULL UNIQUE,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE step_fingerprints (
    fingerprint BLOB NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
