-- Counts, kept beside the rows, so that statistics cost the same at any number of logs.
--
-- A commit appends one row to rollup_pending, in its transaction: what the batch adds. Workers that commit at the same
-- time so never wait for each other, which they would if they counted up the rows of the same devices. Now and then
-- one of them folds what is pending into the totals. Whoever reads adds both, in one statement, so in one snapshot.

CREATE TABLE rollup_pending (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Line by line: so many logs of this device and level were received in this second (since 1970).
    device_ids text[]     NOT NULL,
    log_levels smallint[] NOT NULL,
    seconds    bigint[]   NOT NULL,
    counts     bigint[]   NOT NULL
);

CREATE TABLE level_totals (
    log_level smallint PRIMARY KEY,
    n         bigint   NOT NULL
);

-- Room in each page keeps an update in its page, and so out of the index.
CREATE TABLE device_totals (
    device_id text     NOT NULL,
    log_level smallint NOT NULL,
    n         bigint   NOT NULL,
    PRIMARY KEY (device_id, log_level)
) WITH (fillfactor = 70);

-- Only of the last day or so: older seconds are forgotten.
CREATE TABLE second_totals (
    second    bigint   NOT NULL,
    log_level smallint NOT NULL,
    n         bigint   NOT NULL,
    PRIMARY KEY (second, log_level)
) WITH (fillfactor = 70);

INSERT INTO device_totals SELECT device_id, log_level, count(*) FROM logs GROUP BY 1, 2;
INSERT INTO level_totals SELECT log_level, sum(n) FROM device_totals GROUP BY 1;
INSERT INTO second_totals
    SELECT floor(extract(epoch FROM received_at))::bigint, log_level, count(*) FROM logs
    WHERE received_at > now() - interval '1 day' GROUP BY 1, 2;

-- The newest logs of each level are read off an index, and merged: of one device, and of all. The rest of the order
-- (ms, seq, part) is sorted within one instant.
DROP INDEX logs_by_device;
CREATE INDEX logs_by_device ON logs (device_id, log_level, received_at);
CREATE INDEX logs_by_level ON logs (log_level, received_at);
