-- Who may use the API. A token is shown once, when it is made; only a digest of its secret is kept.
CREATE TABLE tokens (
    id          TEXT    PRIMARY KEY,
    digest      BLOB    NOT NULL,
    role        TEXT    NOT NULL, -- ingest, read or admin
    note        TEXT    NOT NULL, -- whose it is
    devices     TEXT,             -- pattern of the devices that it may post for; null: all
    rate        INTEGER,          -- logs or requests a second; null: not limited
    created_at  INTEGER NOT NULL, -- microseconds since 1970
    expires_at  INTEGER
) STRICT, WITHOUT ROWID;
