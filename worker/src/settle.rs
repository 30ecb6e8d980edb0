//! What follows the outcome of a commit. Pure, so that every case is a line in a test.

use std::time::Duration;

use sawpit_store::CommitError;

/// What to do with the messages of an attempt to store them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// They are stored: acknowledge them.
    Ack,
    /// Wait, then commit the same batch again; the ledger sees to it that it is stored once.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Why, for the operator.
        cause: String,
    },
    /// Another batch stored some of them: ask the ledger which, and try with the others.
    Compare,
    /// A try whose outcome is unknown may have stored them, before another was refused: ask the ledger, under a new
    /// lease, and try with the others.
    Recheck,
    /// Try each half alone: one of them holds the culprit.
    Bisect,
    /// Move the only one to the dead letters. Waiting would not help: the store judged the data.
    Bury {
        /// What the store said.
        reason: String,
    },
    /// Leave them unacknowledged: another worker has them, or this one will get them again.
    Abandon,
}

/// Decides for an attempt with so many `messages`; `wait` is the next back-off.
pub(crate) fn decide(result: Result<(), CommitError>, messages: usize, wait: Duration) -> Decision {
    match result {
        Ok(()) => Decision::Ack,
        Err(CommitError::Fenced) => Decision::Abandon,
        Err(CommitError::Overlap) => Decision::Compare,
        Err(CommitError::Refused { .. }) if messages > 1 => Decision::Bisect,
        Err(CommitError::Refused { cause }) => {
            Decision::Bury { reason: format!("the store refused it: {cause}") }
        }
        // What a later version of the store may add is no verdict on the data either.
        Err(error) => Decision::Retry { after: wait, cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use sawpit_store::Outcome;

    use super::*;

    const WAIT: Duration = Duration::from_millis(30);

    fn refused() -> CommitError {
        CommitError::Refused { cause: "numeric out of range".to_owned() }
    }

    #[test]
    fn each_outcome_has_its_decision() {
        for (result, messages, decision) in [
            (Ok(()), 100, Decision::Ack),
            (Err(CommitError::Fenced), 100, Decision::Abandon),
            (Err(CommitError::Fenced), 1, Decision::Abandon),
            (Err(CommitError::Overlap), 1, Decision::Compare),
            (Err(refused()), 100, Decision::Bisect),
            (Err(refused()), 2, Decision::Bisect),
        ] {
            assert_eq!(decide(result.clone(), messages, WAIT), decision, "{result:?} of {messages}");
        }
    }

    #[test]
    fn a_store_that_is_away_is_waited_for_even_with_one_message() {
        for outcome in [Outcome::NotCommitted, Outcome::Unknown] {
            let away = CommitError::Unavailable { cause: "connection refused".to_owned(), outcome };
            let Decision::Retry { after, cause } = decide(Err(away), 1, WAIT) else {
                panic!("not tried again");
            };
            assert_eq!(after, WAIT);
            assert!(cause.contains("connection refused"), "{cause}");
        }
    }

    #[test]
    fn a_culprit_alone_is_buried_with_the_cause() {
        let reason = "the store refused it: numeric out of range".to_owned();
        assert_eq!(decide(Err(refused()), 1, WAIT), Decision::Bury { reason });
    }
}
