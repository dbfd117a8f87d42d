-- How was everybody in this minute, and how were those of one value of one dimension? Settled from quality_per_minute_v1: its cells merged
-- without their sessions, one row a value of each dimension ('' is unknown), and one of everybody, whose dimension is ''.
-- A settling writes all rows of a minute under one stamp. A value that nobody has any more leaves its row behind, so of a minute only the
-- rows with its greatest settled_at count. Read by dimension, hence the order; a row is as big as hundreds of a session's, hence the granules.
CREATE TABLE IF NOT EXISTS quality_per_minute_by_dimension_v1
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toYYYYMMDD(t)
ORDER BY (dimension, t, value)
TTL t + INTERVAL 30 DAY
SETTINGS index_granularity = 256, ttl_only_drop_parts = 1
EMPTY AS SELECT
    toLowCardinality('') AS dimension, t, toLowCardinality('') AS value, toUInt64(0) AS cells,
    * EXCEPT (t, session_id, game, platform, device, client_version, codec, access, isp, country, region, host, host_version, experiment,
        client_seq_min, client_seq_max, client_seqs, host_seq_min, host_seq_max, host_seqs, controller_seq_min, controller_seq_max, controller_seqs)
FROM quality_per_minute_v1;

-- 'minute_by_dimension': `rows` is what its minute was settled from.
ALTER TABLE settled_v1 MODIFY COLUMN tier Enum8('10s' = 1, 'minute' = 2, 'hour' = 3, 'session' = 4, 'minute_by_dimension' = 5);
