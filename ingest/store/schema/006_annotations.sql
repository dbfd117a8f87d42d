-- What happened to the fleet, as people and pipelines say it: deploys, incidents, notes, to be drawn over every chart.
-- The first row of an id counts, by created_at; a repeated one says the same and is not written again.
CREATE TABLE IF NOT EXISTS annotations_v1
(
    id UUID,
    at DateTime64(3, 'UTC'),
    -- NULL: a moment, or not over yet.
    until Nullable(DateTime64(3, 'UTC')),
    kind Enum8('deploy' = 1, 'incident' = 2, 'note' = 3),
    title String,
    text String,
    -- Whom it is about: dimension to value, as in a filter. Empty: everybody.
    dimensions Map(String, String),
    created_at DateTime64(6, 'UTC'),
    -- Which key said it; '' is unknown.
    created_by String
)
ENGINE = MergeTree
ORDER BY (id, created_at);
