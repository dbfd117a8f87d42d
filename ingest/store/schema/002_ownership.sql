-- Who may write a partition's rows? The owner is argMax(writer, (epoch, writer)); every insert into events_v1 is fenced by it.
CREATE TABLE IF NOT EXISTS partition_owners_v1
(
    log_id LowCardinality(String),
    kafka_partition UInt32,
    epoch UInt64,
    writer UUID,
    taken_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (log_id, kafka_partition, epoch)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- How far had a partition come? Never expires, so that retention or erasure of raw rows cannot move a reader back.
CREATE TABLE IF NOT EXISTS partition_progress_v1
(
    log_id LowCardinality(String),
    kafka_partition UInt32,
    next_offset UInt64,
    -- Kafka's append time of the record before next_offset; NULL where that was never delivered.
    last_appended_at Nullable(DateTime64(3, 'UTC')),
    noted_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(next_offset)
ORDER BY (log_id, kafka_partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Which incarnation of a topic are we reading? A topic that was deleted and created again is a new log (--accept-new-log).
CREATE TABLE IF NOT EXISTS logs_v1
(
    topic String,
    incarnation UInt32,
    begun_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, incarnation)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Which refused messages have been sent again, and by which run of the replay? Noted before sending: each is sent at most once.
CREATE TABLE IF NOT EXISTS replays_v1
(
    log_id LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    replay_id UUID,
    replayed_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (log_id, kafka_partition, kafka_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
