-- What a chain was: its plugins in order, so that the id of a row's chain can be explained after they are gone.
--
-- Written by each host and worker when its chain changes. chains.name is one such chain, or the host's and the
-- worker's joined by '+', which is how a row names what made it.
CREATE TABLE chain_members (
    chain    text     NOT NULL, -- the digest
    position integer  NOT NULL, -- from 0, in the order in which they run
    plugin   text     NOT NULL,
    version  text     NOT NULL,
    hash     text     NOT NULL, -- of the wasm and its manifest
    percent  smallint,          -- of the devices, for a canary; else null: all, or those without the canary
    PRIMARY KEY (chain, position)
);

CREATE INDEX chain_members_by_plugin ON chain_members (plugin, version);
