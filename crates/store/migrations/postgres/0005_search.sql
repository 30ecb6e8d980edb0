-- What rows are found by: words of the message and digests of the members of log_data, for workers that are told to
-- index them; else null, which the index leaves out.
ALTER TABLE logs ADD COLUMN terms tsvector;

CREATE INDEX logs_by_term ON logs USING gin (terms) WHERE terms IS NOT NULL;

-- Since when the workers keep which index ('text', 'data').
CREATE TABLE search_indexes (
    name  text        PRIMARY KEY,
    since timestamptz NOT NULL
);
