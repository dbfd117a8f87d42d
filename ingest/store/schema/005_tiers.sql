-- How was a session in this hour? Settled from quality_per_minute_v1.
CREATE TABLE IF NOT EXISTS quality_per_hour_v1 AS quality_per_minute_v1
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toYYYYMM(t)
ORDER BY (t, session_id)
TTL t + INTERVAL 1200 DAY
SETTINGS index_granularity = 2048, ttl_only_drop_parts = 1;

-- From when to when was a session heard of? Only ever widens, so it does not matter which of its hours is settled first, or by whom.
CREATE TABLE IF NOT EXISTS session_spans_v1
(
    session_id UUID,
    first SimpleAggregateFunction(min, DateTime('UTC')),
    last SimpleAggregateFunction(max, DateTime('UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY session_id
TTL last + INTERVAL 1200 DAY
SETTINGS index_granularity = 2048;

-- How was a session, over its whole life? `t` and `last_t`: its first and last ten-second cell; then the columns of a cell, merged.
-- In order of time, so that those of a range are read alone. A session whose beginning turns out to be earlier gets another key:
-- its row under the old one is then replaced by one that is `gone`, which FINAL leaves out.
CREATE TABLE IF NOT EXISTS sessions_v1
ENGINE = ReplacingMergeTree(settled_at, gone)
PARTITION BY toYYYYMM(t)
ORDER BY (t, session_id)
TTL t + INTERVAL 1200 DAY
SETTINGS index_granularity = 2048, ttl_only_drop_parts = 1
EMPTY AS SELECT t, session_id, t AS last_t, * EXCEPT (t, session_id, settled_at), settled_at, toUInt8(0) AS gone FROM quality_per_minute_v1;

ALTER TABLE sessions_v1 ADD INDEX IF NOT EXISTS session_id_seen session_id TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE sessions_v1 ADD INDEX IF NOT EXISTS last_seen last_t TYPE minmax GRANULARITY 1;

-- 'hour': `rows` is the sum of what its minutes were settled from; 'session': the same, when the sessions of that hour were settled.
ALTER TABLE settled_v1 MODIFY COLUMN tier Enum8('10s' = 1, 'minute' = 2, 'hour' = 3, 'session' = 4);

-- Which offsets did Kafka deliver whose rows were erased since? The invariant counts them with the rows; whose they were is not kept.
-- Kept longer than raw rows, so that these never go first.
CREATE TABLE IF NOT EXISTS erasures_v1
(
    log_id LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    erased_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(erased_at)
PARTITION BY toYYYYMM(ingested_at)
ORDER BY (log_id, kafka_partition, kafka_offset)
TTL toDateTime(ingested_at) + INTERVAL 32 DAY
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;
