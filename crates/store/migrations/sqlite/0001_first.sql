-- The same as PostgreSQL's tables, where the comments say why; times are microseconds since 1970 (UTC).

CREATE TABLE chains (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE logs (
    received_at INTEGER NOT NULL,
    ms          INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    part        INTEGER NOT NULL,
    chain_id    INTEGER NOT NULL,
    log_level   INTEGER NOT NULL,
    device_id   TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    log_data    TEXT    NOT NULL, -- as the device sent it: SQLite has no type that would be faster to read back
    sources     TEXT              -- a JSON array of 'ms-seq', or null
) STRICT;

CREATE INDEX logs_by_device ON logs (device_id, received_at, ms, seq, part);

CREATE TABLE leases (
    owner TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    max_ms       INTEGER NOT NULL,
    max_seq      INTEGER NOT NULL,
    min_ms       INTEGER NOT NULL,
    committed_at INTEGER NOT NULL,
    owner        TEXT    NOT NULL,
    ids          BLOB    NOT NULL,
    PRIMARY KEY (max_ms, max_seq)
) STRICT;
