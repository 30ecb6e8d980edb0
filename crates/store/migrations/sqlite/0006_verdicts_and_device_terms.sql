-- What plugins made of logs: the worker's part is counted up with each batch, the host's every few seconds.
CREATE TABLE plugin_totals (
    plugin  TEXT    NOT NULL,
    version TEXT    NOT NULL,
    verdict INTEGER NOT NULL, -- 0 accepted, 1 changed, 2 dropped, 3 rejected
    n       INTEGER NOT NULL,
    PRIMARY KEY (plugin, version, verdict)
) STRICT, WITHOUT ROWID;

-- Rows have their device as a term from now on, and those of before do not: they are found again after `sawpit index`.
DELETE FROM search_indexes;
