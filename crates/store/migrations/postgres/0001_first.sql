-- Logs, who may write them, and what has been written.

-- Ids of plugin chains, so that a row carries 4 bytes of provenance and not a digest's text.
CREATE TABLE chains (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- One row per log. Partitioned by day, so that retention drops a table and does not delete rows.
--
-- (ms, seq) is the id that the queue gave the message, and part numbers the rows that a transform split one
-- log into: together they name a row, in the order of the queue, and need no sequence.
--
-- There is deliberately no unique index: the ledger makes rows unique, and an index over every row would cost
-- more than it. Nor are there CHECK constraints: the only check violation that can then occur is a row that
-- was on its way to the default partition while its day's partition was attached, and that is worth a retry.
CREATE TABLE logs (
    received_at timestamptz NOT NULL,
    ms          bigint      NOT NULL,
    seq         bigint      NOT NULL,
    part        integer     NOT NULL,
    chain_id    integer     NOT NULL,
    log_level   smallint    NOT NULL, -- 0 DEBUG, 1 INFO, 2 WARNING, 3 ERROR, 4 CRITICAL
    device_id   text        NOT NULL,
    message     text        NOT NULL,
    log_data    jsonb       NOT NULL,
    sources     text[]                -- 'ms-seq' of each message, when the row was made from several; else null
) PARTITION BY RANGE (received_at);

-- Rows outside the days that have a partition (late by days, or from a clock that is ahead) always have a home.
CREATE TABLE logs_default PARTITION OF logs DEFAULT;

-- Newest first of one device, read backwards; the rest of the columns make the order total, for paging.
CREATE INDEX logs_by_device ON logs (device_id, received_at, ms, seq, part);

-- Rows arrive in about the order of received_at, so block ranges find a span of time at almost no cost.
CREATE INDEX logs_by_time ON logs USING brin (received_at) WITH (autosummarize = on, pages_per_range = 32);

-- Who may commit: a commit holds its owner's row, and a fence changes it. Never deleted, so that an epoch
-- never comes back.
CREATE TABLE leases (
    owner text   PRIMARY KEY,
    epoch bigint NOT NULL
);

-- One row per committed batch: which messages it settled, in the same transaction as their rows.
--
-- ids is the sorted list of message ids as deltas in LEB128 (about 3 bytes each where an array needs 16): this
-- is written with each batch and read only for a message that was delivered twice.
CREATE TABLE ledger (
    max_ms       bigint      NOT NULL,
    max_seq      bigint      NOT NULL,
    min_ms       bigint      NOT NULL,
    committed_at timestamptz NOT NULL,
    owner        text        NOT NULL,
    ids          bytea       NOT NULL,
    -- Two batches that end with the same message are the same batch tried twice, the first try's outcome
    -- unknown. The index makes the second wait for the first. It also finds the batches that may hold an id.
    CONSTRAINT ledger_last_id UNIQUE (max_ms, max_seq)
);
