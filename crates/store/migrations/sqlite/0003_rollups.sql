-- Counts, kept beside the rows, so that statistics cost the same at any number of logs. Here a commit counts them up at
-- once: it has the write lock anyway.

CREATE TABLE level_totals (
    log_level INTEGER PRIMARY KEY,
    n         INTEGER NOT NULL
) STRICT;

CREATE TABLE device_totals (
    device_id TEXT    NOT NULL,
    log_level INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    PRIMARY KEY (device_id, log_level)
) STRICT, WITHOUT ROWID;

-- Only of the last day or so: older seconds are forgotten.
CREATE TABLE second_totals (
    second    INTEGER NOT NULL, -- since 1970
    log_level INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    PRIMARY KEY (second, log_level)
) STRICT, WITHOUT ROWID;

INSERT INTO device_totals SELECT device_id, log_level, count(*) FROM logs GROUP BY 1, 2;
INSERT INTO level_totals SELECT log_level, sum(n) FROM device_totals GROUP BY 1;
INSERT INTO second_totals
    SELECT received_at / 1000000, log_level, count(*) FROM logs
    WHERE received_at > (unixepoch() - 86400) * 1000000 GROUP BY 1, 2;

-- The newest logs of each level are read off an index, and merged: of one device, and of all.
DROP INDEX logs_by_device;
CREATE INDEX logs_by_device ON logs (device_id, log_level, received_at);
CREATE INDEX logs_by_level ON logs (log_level, received_at);
