-- What did bitrate logic decide, and on what grounds? A row like any other of events_v1, told apart by its decision_id: one that arrives
-- again is stored again, and counted once by whoever asks. `at` is when it was decided, `target_bitrate_kbps` what the encoder is asked
-- for from then on, `reason` why, in the words of whoever decided. Cells know nothing of decisions.
ALTER TABLE events_v1
    MODIFY COLUMN kind Enum8('frame_times' = 1, 'bitrate' = 2, 'session' = 3, 'abr_decision' = 4, 'rejected' = 101, 'gap' = 102);

ALTER TABLE events_v1
    ADD COLUMN IF NOT EXISTS decision_id UUID CODEC(ZSTD(1)) AFTER end_reason,
    ADD COLUMN IF NOT EXISTS policy LowCardinality(String) AFTER decision_id,
    ADD COLUMN IF NOT EXISTS policy_version LowCardinality(String) AFTER policy,
    ADD COLUMN IF NOT EXISTS from_rung LowCardinality(String) AFTER policy_version,
    ADD COLUMN IF NOT EXISTS to_rung LowCardinality(String) AFTER from_rung,
    -- The newest event that was known then.
    ADD COLUMN IF NOT EXISTS as_of Nullable(DateTime64(3, 'UTC')) CODEC(T64, ZSTD(1)) AFTER to_rung;
