-- The last write of each process that counts verdicts by itself: one that is tried again, because its answer was lost, is
-- counted once.
CREATE TABLE verdict_writers (
    writer     TEXT    PRIMARY KEY,
    number     INTEGER NOT NULL,
    written_at INTEGER NOT NULL -- microseconds since 1970
) STRICT, WITHOUT ROWID;

-- Rows have their level as a term from now on, and those of before do not: they are found again after `sawpit index`.
DELETE FROM search_indexes;
