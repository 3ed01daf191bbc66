-- Rows as the first version of the schema held them: a variant with its two files, a blob that nothing names, a job without a
-- spec that anybody reads, an account.
INSERT INTO blobs (hash, body) VALUES ('\x037eec834516b69bd7480000eea9b0bf74e4097a088548b368fb7f694d72ae63', '\x0073746570733a0a20202d2069643a20616e737765720a202020206b696e643a206c6c6d0a2020202070726f6d70743a20616e737765722e6d640a6f75747075743a20616e737765722e746578740a');
INSERT INTO blobs (hash, body) VALUES ('\x6afada2c7cf0c995a7d41aa7a54b4944ceff6c2e5a001f47ac19f78baabf54a7', '\x00416e737765722e');
INSERT INTO blobs (hash, body) VALUES ('\x8ac17808590f1d2e0722977cdc03b4f9f4ee9efc60bc583784a901d528a1a282', '\x0061206c6f6f736520626c6f62');
INSERT INTO variants (id, created_at) VALUES ('\xa66fd8ca0cf7077f98f74da6db43cd61f7cad7d9ee67cd3964be1086522bfc9a', 1790000000000);
INSERT INTO variant_files (variant, path, blob) VALUES ('\xa66fd8ca0cf7077f98f74da6db43cd61f7cad7d9ee67cd3964be1086522bfc9a', 'answer.md', '\x6afada2c7cf0c995a7d41aa7a54b4944ceff6c2e5a001f47ac19f78baabf54a7');
INSERT INTO variant_files (variant, path, blob) VALUES ('\xa66fd8ca0cf7077f98f74da6db43cd61f7cad7d9ee67cd3964be1086522bfc9a', 'pipeline.yaml', '\x037eec834516b69bd7480000eea9b0bf74e4097a088548b368fb7f694d72ae63');
INSERT INTO jobs (id, project, spec, status, version, state, created_at, updated_at) VALUES
    ('01a0c000-0000-7000-8000-000000000001', 'p', '\x007b7d', 'done', 1, '\x007b7d', 1790000000000, 1790000000000);
INSERT INTO accounts (job, cap_cost) VALUES ('01a0c000-0000-7000-8000-000000000001', 1000);
