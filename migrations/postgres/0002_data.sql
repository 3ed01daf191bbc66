-- Data and results: the same tables and columns as SQLite's, and what only a cluster needs. Texts that are sorted or searched by
-- their start are compared byte by byte (`COLLATE "C"`), as SQLite does.

-- A blob is removed once nothing names it, but not before a day has passed since it was last stored or named anew (retention.rs
-- of the store).
ALTER TABLE blobs ADD COLUMN touched_at bigint NOT NULL DEFAULT 0;

-- data ---------------------------------------------------------------------------------------------------------------

-- A version, or an import under way while `hash` is null. Any process may go on with an import; one that nobody went on with until
-- `alive_until` is abandoned. Its row's lock is what calls for one import wait for.
CREATE TABLE datasets (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash            bytea UNIQUE,
    project         text NOT NULL,
    created_at      bigint NOT NULL,
    duplicates      bigint NOT NULL DEFAULT 0,
    near_duplicates text,
    alive_until     bigint
);
CREATE INDEX datasets_imported ON datasets (id) WHERE hash IS NULL;

-- Narrow, so that passes over all cases do not read their bodies. `seq` counts the cases of a dataset in the order of the import,
-- from 1. `split`: 0 train, 1 val, 2 test.
CREATE TABLE cases (
    dataset bigint NOT NULL,
    seq     bigint NOT NULL,
    split   bigint NOT NULL,
    ordinal bigint NOT NULL,
    case_id text COLLATE "C" NOT NULL,
    digest  bytea NOT NULL,
    PRIMARY KEY (dataset, seq)
);
-- not unique: renumbering the parts of a split would break it on the way
CREATE INDEX cases_by_ordinal ON cases (dataset, split, ordinal);
CREATE UNIQUE INDEX cases_by_id ON cases (dataset, case_id);

CREATE TABLE case_bodies (
    dataset bigint NOT NULL,
    seq     bigint NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (dataset, seq)
);
ALTER TABLE case_bodies ALTER COLUMN body SET STORAGE EXTERNAL;

-- What is needed of a case only until its import is committed: where it came from, and what it is like.
CREATE TABLE import_rows (
    dataset bigint NOT NULL,
    seq     bigint NOT NULL,
    split   bigint NOT NULL,
    file    text NOT NULL,
    line    bigint NOT NULL,
    exact   bigint,
    band0   bigint,
    band1   bigint,
    band2   bigint,
    band3   bigint,
    PRIMARY KEY (dataset, seq)
);

-- results ------------------------------------------------------------------------------------------------------------

-- Short numbers for evaluation ids: the key of every row below. `part` is the partition of its runs and steps: the month of its
-- first run, as 202701. Holding this row's lock (KEY SHARE and up) keeps retention from removing the evaluation.
CREATE TABLE evaluations (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    part bigint NOT NULL
);
CREATE INDEX evaluations_by_part ON evaluations (part);

-- The columns are SQLite's (0001_first.sql there); `part` is the evaluation's. Partitions are made when the first evaluation of a
-- month is (postgres/partitions.rs of the store), and dropped whole by retention.
CREATE TABLE runs (
    part             bigint NOT NULL,
    evaluation       bigint NOT NULL,
    ordinal          bigint NOT NULL,
    case_id          text COLLATE "C" NOT NULL,
    status           text NOT NULL,
    reason           text,
    output_text      bytea,
    output_json      bytea,
    cost             bigint NOT NULL,
    model_calls      bigint NOT NULL,
    input_tokens     bigint NOT NULL,
    output_tokens    bigint NOT NULL,
    cached_tokens    bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    full_spend       text,
    full_cost        bigint NOT NULL,
    cached           boolean NOT NULL,
    started_at       bigint NOT NULL,
    duration_ms      bigint NOT NULL,
    full_duration_ms bigint NOT NULL,
    PRIMARY KEY (part, evaluation, ordinal)
) PARTITION BY LIST (part);
ALTER TABLE runs ALTER COLUMN output_text SET STORAGE EXTERNAL, ALTER COLUMN output_json SET STORAGE EXTERNAL;
-- the failures of an evaluation; one case over many evaluations
CREATE INDEX runs_not_completed ON runs (evaluation, ordinal) WHERE status <> 'completed';
CREATE INDEX runs_by_case ON runs (evaluation, case_id);

CREATE TABLE steps (
    part             bigint NOT NULL,
    evaluation       bigint NOT NULL,
    ordinal          bigint NOT NULL,
    n                bigint NOT NULL,
    position         bigint NOT NULL,
    step             text COLLATE "C" NOT NULL,
    kind             text NOT NULL,
    status           text NOT NULL,
    key              bytea,
    cache_hit        boolean NOT NULL,
    input            bytea,
    output           bytea,
    finish           text,
    error_kind       text,
    error            text,
    cost             bigint NOT NULL,
    model_calls      bigint NOT NULL,
    input_tokens     bigint NOT NULL,
    output_tokens    bigint NOT NULL,
    cached_tokens    bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    full_spend       text,
    attempts         bigint NOT NULL,
    started_ms       bigint NOT NULL,
    duration_ms      bigint NOT NULL,
    full_duration_ms bigint NOT NULL,
    PRIMARY KEY (part, evaluation, ordinal, n)
) PARTITION BY LIST (part);
ALTER TABLE steps ALTER COLUMN input SET STORAGE EXTERNAL, ALTER COLUMN output SET STORAGE EXTERNAL;
-- steps that failed
CREATE INDEX steps_failed ON steps (evaluation, step, ordinal) WHERE status = 'failed';

CREATE TABLE scores (
    evaluation bigint NOT NULL,
    ordinal    bigint NOT NULL,
    case_id    text COLLATE "C" NOT NULL,
    status     text NOT NULL,
    score      double precision NOT NULL,
    breakdown  text NOT NULL,
    feedback   text NOT NULL,
    scorer     bytea NOT NULL,
    PRIMARY KEY (evaluation, ordinal)
);

-- `body` is the attribution without its clusters, which have rows of their own.
CREATE TABLE attributions (
    evaluation bigint PRIMARY KEY,
    body       bytea NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE clusters (
    evaluation bigint NOT NULL,
    n          bigint NOT NULL,
    id         text NOT NULL,
    level      text NOT NULL,
    failures   bigint NOT NULL,
    points     double precision NOT NULL,
    body       bytea NOT NULL,
    PRIMARY KEY (evaluation, n)
);

-- `reading`: what a model read in the trace of a failure that the rules left unclear; packed JSON.
CREATE TABLE findings (
    evaluation bigint NOT NULL,
    ordinal    bigint NOT NULL,
    n          bigint NOT NULL,
    case_id    text COLLATE "C" NOT NULL,
    step       text NOT NULL,
    rule       text NOT NULL,
    level      text NOT NULL,
    confidence double precision NOT NULL,
    lost       double precision NOT NULL,
    detail     text NOT NULL,
    reading    bytea,
    PRIMARY KEY (evaluation, ordinal, n)
);
