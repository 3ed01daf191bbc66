-- What retention needs. A blob is removed once nothing names it, but not before a day has passed since it was last stored or named
-- anew (retention.rs of the store): what is about to name it may not be written yet. Blobs that are here already were touched at
-- no known time.
ALTER TABLE blobs ADD COLUMN touched_at INTEGER NOT NULL DEFAULT 0;

-- A blob that goes is looked for among the files of variants.
CREATE INDEX variant_files_by_blob ON variant_files (blob);
