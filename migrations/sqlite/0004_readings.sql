-- What a model read in the trace of a failure that the rules left unclear; packed JSON.
ALTER TABLE findings ADD COLUMN reading BLOB;
