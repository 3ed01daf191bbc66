-- The first schema: the same tables and columns as SQLite's, in Postgres's own types. Hashes are 32 bytes, job ids uuids, times
-- milliseconds since 1970, money micro-dollars. A column called `body`, or said to be packed, holds one tag byte and then the
-- bytes as they are or compressed (codec.rs of the store); Postgres need not try to compress it again (`STORAGE EXTERNAL`).

-- content ------------------------------------------------------------------------------------------------------------

-- Content-addressed bytes.
CREATE TABLE blobs (
    hash bytea PRIMARY KEY,
    body bytea NOT NULL
);
ALTER TABLE blobs ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE variants (
    id         bytea PRIMARY KEY,
    created_at bigint NOT NULL
);

CREATE TABLE variant_files (
    variant bytea NOT NULL REFERENCES variants (id),
    path    text COLLATE "C" NOT NULL,
    blob    bytea NOT NULL REFERENCES blobs (hash),
    PRIMARY KEY (variant, path)
);
CREATE INDEX variant_files_by_blob ON variant_files (blob);

-- work ---------------------------------------------------------------------------------------------------------------

-- `spec` and `state` are packed. The row's lock is what ticks of a job wait for.
CREATE TABLE jobs (
    id          uuid PRIMARY KEY,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    project     text NOT NULL,
    spec        bytea NOT NULL,
    status      text NOT NULL,
    version     bigint NOT NULL,
    state       bytea NOT NULL,
    test_opened bytea,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,
    paused      boolean NOT NULL DEFAULT false,
    trace       text
);
ALTER TABLE jobs ALTER COLUMN spec SET STORAGE EXTERNAL, ALTER COLUMN state SET STORAGE EXTERNAL;
CREATE INDEX jobs_running ON jobs (seq) WHERE status = 'running';
CREATE INDEX jobs_by_age ON jobs (created_at, seq);
CREATE INDEX jobs_by_project ON jobs (project, created_at, seq);

CREATE TABLE job_events (
    job  uuid NOT NULL REFERENCES jobs (id),
    seq  bigint NOT NULL,
    at   bigint NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (job, seq)
);

CREATE TABLE lineage (
    job        uuid NOT NULL REFERENCES jobs (id),
    seq        bigint NOT NULL,
    child      bytea NOT NULL,
    parents    bytea[] NOT NULL,
    iteration  bigint NOT NULL,
    level      text,
    technique  text,
    hypothesis text NOT NULL,
    files      bigint NOT NULL,
    added      bigint NOT NULL,
    removed    bigint NOT NULL,
    PRIMARY KEY (job, seq)
);

CREATE TABLE decisions (
    job       uuid NOT NULL REFERENCES jobs (id),
    seq       bigint NOT NULL,
    iteration bigint NOT NULL,
    what      text NOT NULL,
    reason    text NOT NULL,
    evidence  text NOT NULL,
    PRIMARY KEY (job, seq)
);

-- `epoch` counts claims and never goes back; `forgiven` is the epoch from which attempts are counted. `payload` and `result`
-- are packed. Room is left in the pages for claims and heartbeats.
CREATE TABLE tasks (
    id          bytea PRIMARY KEY,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    job         uuid NOT NULL REFERENCES jobs (id),
    topic       text NOT NULL,
    payload     bytea NOT NULL,
    state       text NOT NULL,
    epoch       bigint NOT NULL DEFAULT 0,
    forgiven    bigint NOT NULL DEFAULT 0,
    owner       text,
    lease_until bigint,
    not_before  bigint NOT NULL,
    result      bytea,
    reason      text,
    consumed    boolean NOT NULL DEFAULT false,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,
    trace       text
) WITH (fillfactor = 80);
ALTER TABLE tasks ALTER COLUMN payload SET STORAGE EXTERNAL, ALTER COLUMN result SET STORAGE EXTERNAL;
CREATE INDEX tasks_open ON tasks (seq) WHERE state IN ('queued', 'leased');
CREATE INDEX tasks_open_by_job ON tasks (job) WHERE state IN ('queued', 'leased');
CREATE INDEX tasks_finished ON tasks (job, seq) WHERE NOT consumed AND state IN ('done', 'dead');
CREATE INDEX tasks_dead ON tasks (job, seq) WHERE state = 'dead';

-- The evaluations of each job, as its tasks name them. `spec` is packed JSON.
CREATE TABLE job_evaluations (
    seq  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job  uuid NOT NULL,
    hash bytea NOT NULL UNIQUE,
    spec bytea NOT NULL
);
CREATE INDEX job_evaluations_by_job ON job_evaluations (job, seq);

CREATE TABLE proposals (
    task       bytea PRIMARY KEY,
    body       bytea NOT NULL,
    created_at bigint NOT NULL
);
ALTER TABLE proposals ALTER COLUMN body SET STORAGE EXTERNAL;

-- Sessions of coding agents, with the transcript as a blob.
CREATE TABLE sessions (
    id         bytea PRIMARY KEY,
    job        uuid NOT NULL,
    started_at bigint NOT NULL,
    body       bytea NOT NULL
);
CREATE INDEX sessions_by_job ON sessions (job, started_at);

-- money and cache ----------------------------------------------------------------------------------------------------

-- `reserved_*` and `lost_*` are the sums over the job's reservations, kept so that a cap is checked on one row. The row's lock
-- is what every change of the job's ledger and reservations waits for. Changed with every call, so most of a page is left free
-- for the row's next versions.
CREATE TABLE accounts (
    job            uuid PRIMARY KEY,
    cap_cost       bigint,
    cap_calls      bigint,
    reserved_cost  bigint NOT NULL DEFAULT 0,
    reserved_calls bigint NOT NULL DEFAULT 0,
    lost_cost      bigint NOT NULL DEFAULT 0,
    lost_calls     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 30);

CREATE TABLE ledger (
    job              uuid NOT NULL,
    role             text NOT NULL,
    cost             bigint NOT NULL,
    model_calls      bigint NOT NULL,
    input_tokens     bigint NOT NULL,
    output_tokens    bigint NOT NULL,
    cached_tokens    bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    PRIMARY KEY (job, role)
) WITH (fillfactor = 30);

CREATE TABLE reservations (
    job        uuid NOT NULL,
    task       bytea NOT NULL,
    epoch      bigint NOT NULL,
    cost       bigint NOT NULL,
    calls      bigint NOT NULL,
    lost_cost  bigint NOT NULL,
    lost_calls bigint NOT NULL,
    PRIMARY KEY (job, task, epoch)
) WITH (fillfactor = 50);

-- `body`: a cached step as JSON.
CREATE TABLE step_cache (
    key        bytea PRIMARY KEY,
    body       bytea NOT NULL,
    created_at bigint NOT NULL
);
ALTER TABLE step_cache ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX step_cache_by_age ON step_cache USING brin (created_at);

CREATE TABLE step_fingerprints (
    fingerprint bytea PRIMARY KEY
);

-- The last group of joined writes that each process has committed: what tells it whether a commit stands whose answer was lost.
-- In Postgres only; a commit in SQLite cannot lose its answer.
CREATE TABLE writers (
    id     uuid PRIMARY KEY,
    number bigint NOT NULL,
    at     bigint NOT NULL
) WITH (fillfactor = 30);

-- access -------------------------------------------------------------------------------------------------------------

-- `hash` is that of the token's whole text; the text itself is nowhere.
CREATE TABLE tokens (
    id         text PRIMARY KEY,
    seq        bigint GENERATED ALWAYS AS IDENTITY,
    hash       bytea NOT NULL UNIQUE,
    name       text NOT NULL,
    project    text,
    role       text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint
);

-- The job that a repeated request became.
CREATE TABLE requests (
    project     text NOT NULL,
    key         text NOT NULL,
    fingerprint bytea NOT NULL,
    job         uuid NOT NULL,
    created_at  bigint NOT NULL,
    PRIMARY KEY (project, key)
);
