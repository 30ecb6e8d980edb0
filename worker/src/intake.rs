//! What each delivery is: to process, to acknowledge only, or to bury.

use std::collections::HashSet;

use sawpit_model::MessageId;
use sawpit_queue::{Corrupt, DeadReason, Delivery};

/// Deliveries by what is to be done with them.
#[derive(Default)]
pub(crate) struct Sorted {
    /// Store them.
    pub(crate) process: Vec<Delivery>,
    /// The ledger knows them: acknowledge them.
    pub(crate) known: Vec<Delivery>,
    /// Bury them.
    pub(crate) bury: Vec<(Delivery, DeadReason)>,
}

/// What is to be done with one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Process,
    Known,
    Bury(String),
}

/// The ids that the ledger must be asked for: only a message that was delivered before can be known.
pub(crate) fn doubtful(deliveries: &[Delivery]) -> Vec<MessageId> {
    deliveries.iter().filter(|delivery| delivery.redelivered).map(|delivery| delivery.id).collect()
}

/// Sorts deliveries, keeping their order.
pub(crate) fn sort(deliveries: Vec<Delivery>, known: &HashSet<MessageId>, max_tries: u32) -> Sorted {
    let mut sorted = Sorted::default();
    for delivery in deliveries {
        let known = known.contains(&delivery.id);
        match verdict(known, delivery.body.as_ref().err(), delivery.tries, max_tries) {
            Verdict::Process => sorted.process.push(delivery),
            Verdict::Known => sorted.known.push(delivery),
            Verdict::Bury(reason) => sorted.bury.push((delivery, DeadReason { reason, plugin: None })),
        }
    }
    sorted
}

/// A message that the ledger knows is never buried, however often it was tried: its rows are there.
fn verdict(known: bool, corrupt: Option<&Corrupt>, tries: u32, max_tries: u32) -> Verdict {
    match corrupt {
        _ if known => Verdict::Known,
        Some(corrupt) => Verdict::Bury(format!("not a log: {}", corrupt.why)),
        None if tries > max_tries => Verdict::Bury(format!(
            "delivered {max_tries} times and never settled: it may end the worker that takes it"
        )),
        None => Verdict::Process,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_tries_is_obeyed_and_violated() {
        assert_eq!(verdict(false, None, 1, 10), Verdict::Process);
        assert_eq!(verdict(false, None, 10, 10), Verdict::Process);
        let Verdict::Bury(reason) = verdict(false, None, 11, 10) else { panic!("not buried") };
        assert!(reason.starts_with("delivered 10 times"), "{reason}");
    }

    #[test]
    fn what_the_ledger_knows_is_acknowledged_however_often_it_was_tried() {
        assert_eq!(verdict(true, None, 99, 10), Verdict::Known);
    }

    #[test]
    fn what_is_no_log_is_buried_at_once_with_the_cause() {
        let corrupt = Corrupt { fields: Vec::new(), why: "no field message".to_owned() };
        let reason = "not a log: no field message".to_owned();
        assert_eq!(verdict(false, Some(&corrupt), 1, 10), Verdict::Bury(reason));
    }
}
