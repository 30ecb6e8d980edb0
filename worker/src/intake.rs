//! What each delivery is: to process, to acknowledge only, or to bury.

use std::collections::HashSet;

use sawpit_model::{Entry, Failure, MessageId};
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
    Bury(DeadReason),
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
        match verdict(known, &delivery.body, delivery.tries, max_tries) {
            Verdict::Process => sorted.process.push(delivery),
            Verdict::Known => sorted.known.push(delivery),
            Verdict::Bury(why) => sorted.bury.push((delivery, why)),
        }
    }
    sorted
}

/// A message that the ledger knows is never buried, however often it was tried: its rows are there.
fn verdict(known: bool, body: &Result<Entry, Corrupt>, tries: u32, max_tries: u32) -> Verdict {
    let bury = |reason: String| Verdict::Bury(DeadReason { reason, plugin: None });
    match body {
        _ if known => Verdict::Known,
        Err(corrupt) => bury(format!("not a log: {}", corrupt.why)),
        Ok(Entry { failure: Some(Failure { plugin, error }), .. }) => {
            Verdict::Bury(DeadReason { reason: error.clone(), plugin: Some(plugin.clone()) })
        }
        Ok(_) if tries > max_tries => bury(format!(
            "delivered {max_tries} times and never settled: it may end the worker that takes it"
        )),
        Ok(_) => Verdict::Process,
    }
}

#[cfg(test)]
mod tests {
    use sawpit_model::{Level, Log, RawObject, Timestamp};

    use super::*;

    fn entry(failure: Option<Failure>) -> Result<Entry, Corrupt> {
        let log = Log {
            device_id: "d".to_owned(),
            log_level: Level::Info,
            message: "m".to_owned(),
            log_data: RawObject::default(),
            received_at: Timestamp::from_micros(7),
        };
        Ok(Entry { log, chain: String::new(), traceparent: None, failure })
    }

    #[test]
    fn the_limit_of_tries_is_obeyed_and_violated() {
        assert_eq!(verdict(false, &entry(None), 1, 10), Verdict::Process);
        assert_eq!(verdict(false, &entry(None), 10, 10), Verdict::Process);
        let Verdict::Bury(why) = verdict(false, &entry(None), 11, 10) else { panic!("not buried") };
        assert!(why.reason.starts_with("delivered 10 times") && why.plugin.is_none(), "{why:?}");
    }

    #[test]
    fn what_the_ledger_knows_is_acknowledged_however_often_it_was_tried() {
        assert_eq!(verdict(true, &entry(None), 99, 10), Verdict::Known);
    }

    #[test]
    fn what_is_no_log_is_buried_at_once_with_the_cause() {
        let corrupt = Corrupt { fields: Vec::new(), why: "no field message".to_owned() };
        let reason = "not a log: no field message".to_owned();
        assert_eq!(verdict(false, &Err(corrupt), 1, 10), Verdict::Bury(DeadReason { reason, plugin: None }));
    }

    #[test]
    fn what_a_plugin_of_the_host_failed_on_is_buried_at_once_with_its_error() {
        let failure = Failure { plugin: "geo@1.0.0#ab".to_owned(), error: "trap".to_owned() };
        let why = DeadReason { reason: failure.error.clone(), plugin: Some(failure.plugin.clone()) };
        assert_eq!(verdict(false, &entry(Some(failure)), 1, 10), Verdict::Bury(why));
    }
}
