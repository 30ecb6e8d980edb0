-- What plugins made of logs: the workers' part is appended with each batch, the hosts' every few seconds.

-- Line by line: so many logs got this verdict (0 accepted, 1 changed, 2 dropped, 3 rejected).
ALTER TABLE rollup_pending
    ADD COLUMN plugins        text[]     NOT NULL DEFAULT '{}',
    ADD COLUMN versions       text[]     NOT NULL DEFAULT '{}',
    ADD COLUMN verdicts       smallint[] NOT NULL DEFAULT '{}',
    ADD COLUMN verdict_counts bigint[]   NOT NULL DEFAULT '{}';

CREATE TABLE plugin_totals (
    plugin  text     NOT NULL,
    version text     NOT NULL,
    verdict smallint NOT NULL,
    n       bigint   NOT NULL,
    PRIMARY KEY (plugin, version, verdict)
) WITH (fillfactor = 70);

-- Rows have their device as a term from now on, and those of before do not: they are found again after `sawpit index`.
DELETE FROM search_indexes;
