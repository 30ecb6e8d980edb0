-- Whether a message is committed is asked for messages that are delivered again, perhaps hours after they were posted. A
-- batch holds messages of a moment, so those that may hold one are found by their last message alone, by the
-- ledger's key. A batch of messages that lay around may span more: of such there are few, and they are in this index, so
-- that they are looked through without the others.
CREATE INDEX ledger_wide ON ledger (max_ms) WHERE max_ms - min_ms > 60000;
