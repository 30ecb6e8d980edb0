//! What each delivery is: to process, to acknowledge only, or to bury.

use std::collections::HashSet;

use sawpit_model::MessageId;
use sawpit_queue::{DeadReason, Delivery};

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

/// The ids that the ledger must be asked for: only a message that was delivered before can be known.
pub(crate) fn doubtful(deliveries: &[Delivery]) -> Vec<MessageId> {
    deliveries.iter().filter(|delivery| delivery.redelivered).map(|delivery| delivery.id).collect()
}

/// Sorts deliveries. A message that the ledger knows is never buried, however often it was tried.
pub(crate) fn sort(deliveries: Vec<Delivery>, known: &HashSet<MessageId>, max_tries: u32) -> Sorted {
    let mut sorted = Sorted::default();
    for delivery in deliveries {
        if known.contains(&delivery.id) {
            sorted.known.push(delivery);
        } else if let Some(reason) = hopeless(&delivery, max_tries) {
            sorted.bury.push((delivery, DeadReason { reason, plugin: None }));
        } else {
            sorted.process.push(delivery);
        }
    }
    sorted
}

fn hopeless(delivery: &Delivery, max_tries: u32) -> Option<String> {
    match &delivery.body {
        Err(corrupt) => Some(format!("not a log: {}", corrupt.why)),
        Ok(_) if delivery.tries > max_tries => Some(format!(
            "delivered {max_tries} times and never settled: it may end the worker that takes it"
        )),
        Ok(_) => None,
    }
}
