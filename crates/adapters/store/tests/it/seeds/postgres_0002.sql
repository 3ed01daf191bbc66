-- Rows as the second version of the schema held them: an evaluation of December 2026 with one run, its step (whose output is a
-- blob), and its score.
CREATE TABLE runs_202612 (LIKE runs INCLUDING ALL);
ALTER TABLE runs ATTACH PARTITION runs_202612 FOR VALUES IN (202612);
CREATE TABLE steps_202612 (LIKE steps INCLUDING ALL);
ALTER TABLE steps ATTACH PARTITION steps_202612 FOR VALUES IN (202612);
INSERT INTO blobs (hash, body, touched_at) VALUES ('\x98757d3e5aae87edcb60b12e55324f24d41cd8d1490e9913f4df75ba83bbb6cc', '\x007b2274657874223a2261206c6f6e6720616e73776572227d', 1796000000000);
INSERT INTO evaluations (hash, part) VALUES ('\xd427d15fe148d6a93b1f7d31016f78cb0b2f8d41b2b1a19ae4cafa7c355e98cd', 202612);
INSERT INTO runs (part, evaluation, ordinal, case_id, status, output_text, cost, model_calls, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, full_cost, cached, started_at, duration_ms, full_duration_ms)
SELECT part, id, 0, 'c0', 'completed', '\x00616e737765722030', 40, 1, 100, 10, 20, 3, 40, false, 1796000000000, 17, 17
FROM evaluations;
INSERT INTO steps (part, evaluation, ordinal, n, position, step, kind, status, cache_hit, input, output, cost, model_calls,
    input_tokens, output_tokens, cached_tokens, reasoning_tokens, attempts, started_ms, duration_ms, full_duration_ms)
SELECT part, id, 0, 0, 0, 'answer', 'llm', 'ok', false, '\x005b225361792069742e225d', '\x0298757d3e5aae87edcb60b12e55324f24d41cd8d1490e9913f4df75ba83bbb6cc', 40, 1, 100, 10,
    20, 3, 1, 0, 7, 7
FROM evaluations;
INSERT INTO scores (evaluation, ordinal, case_id, status, score, breakdown, feedback, scorer)
SELECT id, 0, 'c0', 'scored', 0.5, '{}', '', '\xc528cab03ad47ed5fceb01fd4f4557f12d8f2bcb2aa9f6e78087380aab8fde5f' FROM evaluations;
