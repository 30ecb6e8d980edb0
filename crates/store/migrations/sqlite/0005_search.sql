-- A key of their own for the rows: without one VACUUM may number them anew, and the search index names them.
CREATE TABLE new_logs (
    id          INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL,
    ms          INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    part        INTEGER NOT NULL,
    chain_id    INTEGER NOT NULL,
    log_level   INTEGER NOT NULL,
    device_id   TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    log_data    TEXT    NOT NULL,
    sources     TEXT
) STRICT;

INSERT INTO new_logs SELECT rowid, * FROM logs ORDER BY rowid;
DROP TABLE logs;
ALTER TABLE new_logs RENAME TO logs;
CREATE INDEX logs_by_device ON logs (device_id, log_level, received_at);
CREATE INDEX logs_by_level ON logs (log_level, received_at);

-- What rows are found by: words of the message and digests of the members of log_data, for workers that are told to
-- index them. They come in lower case and with spaces between, so the tokeniser only splits.
CREATE VIRTUAL TABLE search USING fts5 (
    terms, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);

-- Where in the search index a minute's rows are.
CREATE TABLE search_minutes (
    minute   INTEGER PRIMARY KEY, -- since 1970
    first_id INTEGER NOT NULL,
    last_id  INTEGER NOT NULL
) STRICT;

-- Since when the workers keep which index ('text', 'data').
CREATE TABLE search_indexes (
    name  TEXT    PRIMARY KEY,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
