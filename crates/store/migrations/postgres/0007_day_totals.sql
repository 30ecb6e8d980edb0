-- How many logs each day has, by device and level: so that a day is dropped without counting its rows.
--
-- Kept by a trigger and not by the statement that folds: whoever takes counts out of rollup_pending adds them to their
-- days, also a host of the version before that still runs while others are replaced.

CREATE TABLE day_totals (
    day       date     NOT NULL, -- of received_at, UTC
    device_id text     NOT NULL,
    log_level smallint NOT NULL,
    n         bigint   NOT NULL,
    PRIMARY KEY (day, device_id, log_level)
) WITH (fillfactor = 70);

-- The day of a second since 1970.
CREATE FUNCTION day_of_second(second bigint) RETURNS date LANGUAGE sql IMMUTABLE
    AS $$ SELECT date '1970-01-01' + floor(second / 86400.0)::int $$;

-- In order, as all who change totals.
CREATE FUNCTION count_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO day_totals AS t
        SELECT day_of_second(l.second), l.device_id, l.log_level, sum(l.n)::bigint
        FROM taken, UNNEST(taken.device_ids, taken.log_levels, taken.seconds, taken.counts)
            AS l(device_id, log_level, second, n)
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (day, device_id, log_level) DO UPDATE SET n = t.n + excluded.n;
    RETURN NULL;
END $$;

CREATE TRIGGER count_days AFTER DELETE ON rollup_pending
    REFERENCING OLD TABLE AS taken FOR EACH STATEMENT EXECUTE FUNCTION count_days();

-- Days of which rows were stored before: they are counted when they are to be dropped, beside the workers. Counting them
-- all here would keep every process from starting for as long as that takes.
CREATE TABLE uncounted_days (
    day date PRIMARY KEY
);
INSERT INTO uncounted_days
    SELECT to_date(substr(c.relname, 6), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'logs'::regclass AND c.relname ~ '^logs_[0-9]{8}$';

-- The rows without a day of their own are few. What is pending of them is added when it is folded.
INSERT INTO day_totals
    SELECT day, device_id, log_level, sum(n)::bigint FROM (
        SELECT (received_at AT TIME ZONE 'UTC')::date AS day, device_id, log_level, 1 AS n FROM logs_default
        UNION ALL
        SELECT day_of_second(l.second), l.device_id, l.log_level, -l.n
        FROM rollup_pending, UNNEST(device_ids, log_levels, seconds, counts) AS l(device_id, log_level, second, n)
        WHERE day_of_second(l.second) NOT IN (SELECT day FROM uncounted_days)
    ) counted
    GROUP BY 1, 2, 3 HAVING sum(n) <> 0;

-- The last write of each process that counts verdicts by itself: one that is tried again, because its answer was lost, is
-- counted once.
CREATE TABLE verdict_writers (
    writer     text        PRIMARY KEY,
    number     bigint      NOT NULL,
    written_at timestamptz NOT NULL
);

-- Rows have their level as a term from now on, and those of before do not: they are found again after `sawpit index`.
DELETE FROM search_indexes;
