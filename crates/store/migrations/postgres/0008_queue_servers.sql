-- Which server last served each stream of the queue, so that a new one is noticed by whoever meets it first: it may know
-- less of who was given what than the one before it, and then everybody who was given something is fenced.
CREATE TABLE queue_servers (
    stream TEXT PRIMARY KEY,
    -- What tells this server's present life from others and from its former ones.
    incarnation TEXT NOT NULL
);
