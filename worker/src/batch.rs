//! One batch, from its deliveries to its acknowledgement.
//!
//! Nothing here returns an error: what a failure leaves behind is an unacknowledged message, and that is
//! the queue's to deliver again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sawpit_model::MessageId;
use sawpit_plugins::Chain;
use sawpit_queue::{DeadReason, Delivery};
use sawpit_service::DoorError;
use sawpit_store::Batch;

use crate::commit::Tries;
use crate::intake::{self, Sorted};
use crate::report::{self, Stored};
use crate::settle::Decision;
use crate::stale;
use crate::step::{FailedInput, Input, Record, Stepped, step};
use crate::traced::BatchTrace;
use crate::work::{Arrival, Shared};

/// Takes what arrived together to its end.
pub(crate) async fn run(shared: Arc<Shared>, arrival: Arrival) {
    let Arrival { deliveries, former_owners, generation } = arrival;
    report::arrived(deliveries.len());
    let mut trace = BatchTrace::begin(&shared, &deliveries);
    let mut tries = Tries::new(&shared, generation);
    let known = tries.ledger(&former_owners, &intake::doubtful(&deliveries)).await;
    #[cfg(debug_assertions)]
    let known = if shared.parts.settings.forget_committed { std::collections::HashSet::new() } else { known };
    let Sorted { process, known, bury } = intake::sort(deliveries, &known, shared.parts.settings.max_tries);
    // Who committed them may have died before it marked their devices.
    if let Some(cache) = shared.parts.cache.as_ref().filter(|_| !known.is_empty()) {
        shared.marks.set(cache, stale::of(&known), shared.parts.settings.cache_ttl).await;
    }
    acknowledge(&shared, known, "known", &mut trace).await;
    inter(&shared, bury, &mut trace).await;
    // One version of the whole chain from start to end, also when the batch is halved (invariant 6).
    let chain = shared.parts.registry.chain();
    let mut groups = vec![process];
    while let Some(group) = groups.pop() {
        if !group.is_empty() {
            groups.extend(settle_group(&shared, &chain, group, &mut tries, &mut trace).await);
        }
    }
    trace.end();
}

/// Settles a group of messages, or gives back those of its parts that are still to be settled.
async fn settle_group(
    shared: &Shared,
    chain: &Arc<Chain>,
    group: Vec<Delivery>,
    tries: &mut Tries<'_>,
    trace: &mut BatchTrace,
) -> Vec<Vec<Delivery>> {
    let stepped = match step_aside(shared, chain, &group, trace).await {
        Ok(stepped) => stepped,
        Err(error) => return broken(shared, group, &error, trace).await,
    };
    let Stepped { rows, settled, dropped, verdicts, failed, untried, .. } = stepped;
    let group = leave(shared, group, &untried);
    let stored = Stored::of(&rows);
    let batch = Batch { ids: settled, rows, verdicts, committed_at: shared.parts.clock.now() };
    // Never but in a test that wants to see the loss.
    #[cfg(debug_assertions)]
    let group = broken_on_purpose(shared, group, trace).await;
    let started = Instant::now();
    let decision = tries.commit(&batch, group.len()).await;
    trace.commit(&batch.ids, batch.rows.len(), started, &decision);
    match decision {
        Decision::Ack => {
            stored.publish(shared, &batch).await;
            report::dropped(&dropped);
            finish(shared, group, failed, trace).await;
        }
        Decision::Bury { reason } => bury_all(shared, group, &reason, trace).await,
        Decision::Bisect => return halves(group),
        Decision::Compare => return compare(shared, group, tries, trace).await,
        // What a try of unknown outcome has not stored after all is judged anew.
        Decision::Recheck => return vec![without_known(shared, group, tries, trace).await],
        Decision::Abandon | Decision::Retry { .. } => abandon(shared, group),
    }
    Vec::new()
}

/// Acknowledges before the commit, where a test asks for it: what it then has left to settle is nothing.
#[cfg(debug_assertions)]
async fn broken_on_purpose(shared: &Shared, group: Vec<Delivery>, trace: &mut BatchTrace) -> Vec<Delivery> {
    if !shared.parts.settings.acknowledge_first {
        return group;
    }
    acknowledge(shared, group, "broken", trace).await;
    Vec::new()
}

/// Runs the step on the CPU pool.
async fn step_aside(
    shared: &Shared,
    chain: &Arc<Chain>,
    group: &[Delivery],
    trace: &BatchTrace,
) -> Result<Stepped, DoorError> {
    let input = |delivery: &Delivery| {
        delivery.body.as_ref().ok().map(|entry| Input { id: delivery.id, entry: entry.clone() })
    };
    let inputs: Vec<Input> = group.iter().filter_map(input).collect();
    let chain = Arc::clone(chain);
    let record = if trace.is_on() { Record::Calls } else { Record::Nothing };
    let ids: Vec<_> = inputs.iter().filter(|_| trace.is_on()).map(|input| input.id).collect();
    let mut stepped = shared.door.run(move || step(&chain, inputs, record)).await?;
    trace.calls(&ids, std::mem::take(&mut stepped.calls));
    Ok(stepped)
}

/// A step that panicked is tried again in halves, until the message that it panics on is alone.
async fn broken(
    shared: &Shared,
    group: Vec<Delivery>,
    error: &DoorError,
    trace: &mut BatchTrace,
) -> Vec<Vec<Delivery>> {
    report::batch("panicked");
    tracing::error!(%error, messages = group.len(), "the transform step broke");
    if group.len() > 1 {
        return halves(group);
    }
    bury_all(shared, group, &format!("the worker broke on it: {error}"), trace).await;
    Vec::new()
}

/// Another worker has them, or this one will get them again.
fn abandon(shared: &Shared, group: Vec<Delivery>) {
    report::batch("abandoned");
    group.into_iter().for_each(Delivery::put_back);
    shared.look_again.store(true, Ordering::Relaxed);
}

/// Lets go of messages that plugins were not called with: they come again, in another batch.
fn leave(shared: &Shared, group: Vec<Delivery>, untried: &[MessageId]) -> Vec<Delivery> {
    if !untried.is_empty() {
        report::logs("untried", untried.len());
        tracing::warn!(count = untried.len(), "plugins had no time for some logs: they will come again");
        shared.look_again.store(false, Ordering::Relaxed);
    }
    let (left, group) = group.into_iter().partition(|delivery| untried.contains(&delivery.id));
    Vec::into_iter(left).for_each(Delivery::put_back);
    group
}

/// After the commit: the messages that plugins failed on are buried, the others acknowledged.
async fn finish(shared: &Shared, group: Vec<Delivery>, failed: Vec<FailedInput>, trace: &mut BatchTrace) {
    let mut reasons: HashMap<MessageId, DeadReason> = failed
        .into_iter()
        .map(|failed| (failed.id, DeadReason { reason: failed.error, plugin: failed.plugin }))
        .collect();
    let (mut dead, mut done) = (Vec::new(), Vec::new());
    for delivery in group {
        match reasons.remove(&delivery.id) {
            Some(reason) => dead.push((delivery, reason)),
            None => done.push(delivery),
        }
    }
    acknowledge(shared, done, "committed", trace).await;
    inter(shared, dead, trace).await;
}

async fn bury_all(shared: &Shared, group: Vec<Delivery>, reason: &str, trace: &mut BatchTrace) {
    let dead = |delivery| (delivery, DeadReason { reason: reason.to_owned(), plugin: None });
    inter(shared, group.into_iter().map(dead).collect(), trace).await;
}

fn halves(mut group: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let second = group.split_off(group.len() / 2);
    // The first half is taken next: order within a device is kept as far as that goes.
    vec![second, group]
}

/// Acknowledges what another batch has stored, and gives back the others.
async fn compare(
    shared: &Shared,
    group: Vec<Delivery>,
    tries: &mut Tries<'_>,
    trace: &mut BatchTrace,
) -> Vec<Vec<Delivery>> {
    let before = group.len();
    let rest = without_known(shared, group, tries, trace).await;
    if rest.len() == before {
        // The ledger contradicts itself; trying again at once would go round in circles.
        report::batch("abandoned");
        return Vec::new();
    }
    vec![rest]
}

/// Acknowledges what the ledger knows, and gives back the others.
async fn without_known(
    shared: &Shared,
    group: Vec<Delivery>,
    tries: &mut Tries<'_>,
    trace: &mut BatchTrace,
) -> Vec<Delivery> {
    let ids: Vec<_> = group.iter().map(|delivery| delivery.id).collect();
    let known = tries.ledger(&[], &ids).await;
    let (stored, rest) = group.into_iter().partition(|delivery| known.contains(&delivery.id));
    acknowledge(shared, stored, "known", trace).await;
    rest
}

/// Acknowledges messages that are committed. When the queue is away they come again and the ledger knows
/// them, so a failure needs no more than a note.
async fn acknowledge(shared: &Shared, done: Vec<Delivery>, outcome: &'static str, trace: &mut BatchTrace) {
    let count = done.len();
    if count == 0 {
        return;
    }
    trace.settled(done.iter().map(|delivery| delivery.id), outcome);
    match shared.settler.ack(done).await {
        Ok(_) => report::logs(outcome, count),
        Err(error) => tracing::warn!(%error, count, "committed, not acknowledged: they will come again"),
    }
}

/// Moves messages to the dead letters. When the queue is away they come again and are judged again.
async fn inter(shared: &Shared, dead: Vec<(Delivery, DeadReason)>, trace: &mut BatchTrace) {
    let count = dead.len();
    if count == 0 {
        return;
    }
    for (delivery, why) in &dead {
        tracing::warn!(id = %delivery.id, reason = why.reason, plugin = why.plugin, "dead letter");
    }
    let (ids, plugins): (Vec<_>, Vec<_>) =
        dead.iter().map(|(delivery, why)| (delivery.id, why.plugin.clone())).unzip();
    match shared.settler.bury(dead).await {
        Ok(_) => {
            report::buried(plugins);
            trace.settled(ids.into_iter(), "buried");
        }
        Err(error) => {
            tracing::warn!(%error, count, "not buried: they will come again");
            shared.look_again.store(false, Ordering::Relaxed);
        }
    }
}
