-- What a chain was: its plugins in order, so that the id of a row's chain can be explained after they are gone.
--
-- Written when the chain of the process changes. chains.name is one such chain, or the host's and the worker's joined
-- by '+', which is how a row names what made it.
CREATE TABLE chain_members (
    chain    TEXT    NOT NULL, -- the digest
    position INTEGER NOT NULL, -- from 0, in the order in which they run
    plugin   TEXT    NOT NULL,
    version  TEXT    NOT NULL,
    hash     TEXT    NOT NULL, -- of the wasm and its manifest
    percent  INTEGER,          -- of the devices, for a canary; else null: all, or those without the canary
    PRIMARY KEY (chain, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX chain_members_by_plugin ON chain_members (plugin, version);
