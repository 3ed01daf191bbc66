-- The index of the step cache lags behind its rows: hashes fall all over a tree, and a page of it written for every row would
-- cost more than the row. So many rows are put into it at once, in its own order (cache/index.rs of the store). Rows after
-- `step_index_end.seq` are not in it yet. The rows stand in the order of arrival; of two with one key the first counts.

CREATE TABLE step_rows (
    seq        INTEGER PRIMARY KEY,
    key        BLOB NOT NULL,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO step_rows SELECT seq, key, body, created_at FROM step_cache;
DROP TABLE step_cache;
ALTER TABLE step_rows RENAME TO step_cache;

CREATE TABLE step_index (
    key BLOB NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO step_index SELECT key, seq FROM step_cache ORDER BY key;

CREATE TABLE step_index_end (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq  INTEGER NOT NULL
) STRICT;
INSERT INTO step_index_end SELECT 1, coalesce(max(seq), 0) FROM step_cache;
