-- Percentiles over hours read one map a session and minute, and what that costs is unpacking them: LZ4 takes half of ZSTD's time, and
-- twice its space. Ten-second cells stay as they are: they are the many, and are read for a short range only.
ALTER TABLE quality_per_minute_v1
    MODIFY COLUMN frame_time_buckets CODEC(LZ4),
    MODIFY COLUMN bitrate_buckets CODEC(LZ4),
    MODIFY COLUMN available_buckets CODEC(LZ4),
    MODIFY COLUMN rtt_buckets CODEC(LZ4),
    MODIFY COLUMN jitter_buckets CODEC(LZ4);

ALTER TABLE quality_per_hour_v1
    MODIFY COLUMN frame_time_buckets CODEC(LZ4),
    MODIFY COLUMN bitrate_buckets CODEC(LZ4),
    MODIFY COLUMN available_buckets CODEC(LZ4),
    MODIFY COLUMN rtt_buckets CODEC(LZ4),
    MODIFY COLUMN jitter_buckets CODEC(LZ4);
