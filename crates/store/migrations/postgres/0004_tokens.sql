-- Who may use the API. A token is shown once, when it is made; only a digest of its secret is kept.
CREATE TABLE tokens (
    id          text        PRIMARY KEY,
    digest      bytea       NOT NULL,
    role        text        NOT NULL, -- ingest, read or admin
    note        text        NOT NULL, -- whose it is
    devices     text,                 -- pattern of the devices that it may post for; null: all
    rate        integer,              -- logs or requests a second; null: not limited
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz
);
