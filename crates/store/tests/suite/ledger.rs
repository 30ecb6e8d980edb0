//! Exactly once.

use std::collections::HashSet;
use std::time::Duration;

use sawpit_model::Tally;
use sawpit_store::{Batch, CommitError, Met, QueueServer, Store};

use super::kit::*;

/// How long the ledger remembers in these cases.
const KEEP: Duration = Duration::from_secs(24 * 3_600);

pub async fn knows_what_was_committed(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let mut mixed = batch_of("d", &[id(10, 0), id(5, 3), id(700, 1)]);
    mixed.ids.push(id(600, 0)); // dropped by a plugin: settled without a row
    store.commit(&lease, &mixed).await.unwrap();
    store
        .commit(
            &lease,
            &Batch { ids: vec![id(20, 0)], rows: vec![], verdicts: Tally::default(), committed_at: now() },
        )
        .await
        .unwrap();
    let asked = [id(10, 0), id(5, 3), id(5, 4), id(600, 0), id(20, 0), id(700, 0), id(701, 1), id(0, 0)];
    let known = store.committed(&asked).await.unwrap();
    assert_eq!(known, HashSet::from([id(10, 0), id(5, 3), id(600, 0), id(20, 0)]));
    assert!(store.committed(&[]).await.unwrap().is_empty());
}

/// Batches of messages that lay around span hours; the others are of a moment, before, within and after those.
pub async fn finds_batches_of_all_widths(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let minute = 60_000;
    let wide = [id(0, 0), id(minute * 5, 1), id(minute * 600, 0)];
    let just_narrow = [id(minute * 2, 0), id(minute * 3, 0)];
    let just_wide = [id(minute * 7, 0), id(minute * 8 + 1, 0)];
    for ids in [&wide[..], &just_narrow, &just_wide, &[id(minute * 5, 0)]] {
        store.commit(&lease, &batch_of("d", ids)).await.unwrap();
    }
    for found in wide.iter().chain(&just_narrow).chain(&just_wide) {
        assert_eq!(store.committed(&[*found]).await.unwrap(), HashSet::from([*found]));
    }
    let none = [id(minute * 5, 2), id(minute * 2, 1), id(minute * 8, 0), id(minute * 601, 0)];
    assert!(store.committed(&none).await.unwrap().is_empty());
    let all: Vec<_> = wide.iter().chain(&just_narrow).chain(&just_wide).copied().collect();
    assert_eq!(store.committed(&all).await.unwrap().len(), all.len());
}

/// More batches than one step forgets.
pub async fn the_ledger_forgets_all_there_is_to_forget(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let batch = |n: u64, committed_at| Batch {
        ids: vec![id(n, 0)],
        rows: vec![],
        verdicts: Tally::default(),
        committed_at,
    };
    for n in 0..1_001 {
        store.commit(&lease, &batch(n, now())).await.unwrap();
    }
    store.commit(&lease, &batch(1_001, at(10 * DAY))).await.unwrap();
    store.trim_ledger(at(10 * DAY), KEEP, None).await.unwrap();
    let ids: Vec<_> = (0..1_002).map(|n| id(n, 0)).collect();
    assert_eq!(store.committed(&ids).await.unwrap(), HashSet::from([id(1_001, 0)]));
}

pub async fn the_same_batch_again_is_ok_and_stored_once(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let batch = batch_of("d", &[id(0, 0), id(0, 1)]);
    store.commit(&lease, &batch).await.unwrap();
    store.commit(&lease, &batch).await.unwrap();
    assert_eq!(messages(&store, "d").await.len(), 2);
    let overlapping = batch_of("d", &[id(0, 1)]);
    assert_eq!(store.commit(&lease, &overlapping).await, Err(CommitError::Overlap));
    assert_eq!(messages(&store, "d").await.len(), 2);
    let nothing = Batch { ids: vec![], rows: vec![], verdicts: Tally::default(), committed_at: now() };
    assert_eq!(store.commit(&lease, &nothing).await, Ok(()));
}

/// Many at once with one batch: as after a lost answer, with the first try still at work.
pub async fn the_same_batch_at_once_is_stored_once(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    for round in 0..10 {
        let batch = batch_of("d", &[id(round, 0), id(round, 1)]);
        let tries: Vec<_> = (0..4)
            .map(|_| {
                let (store, lease, batch) = (store.clone(), lease.clone(), batch.clone());
                tokio::spawn(async move { store.commit(&lease, &batch).await })
            })
            .collect();
        for tried in tries {
            assert_eq!(tried.await.unwrap(), Ok(()));
        }
    }
    assert_eq!(messages(&store, "d").await.len(), 20);
}

pub async fn a_fenced_lease_commits_no_more(url: String) {
    let (store, other) = (open(&url).await, open(&url).await);
    let old = store.lease("stalled").await.unwrap();
    let bystander = store.lease("bystander").await.unwrap();
    store.commit(&old, &batch_of("d", &[id(0, 0)])).await.unwrap();
    other.fence(&["stalled".to_owned(), "never heard of".to_owned()]).await.unwrap();
    assert_eq!(store.commit(&old, &batch_of("d", &[id(1, 0)])).await, Err(CommitError::Fenced));
    assert!(store.committed(&[id(1, 0)]).await.unwrap().is_empty());
    store.commit(&bystander, &batch_of("d", &[id(1, 0)])).await.unwrap();
    let new = store.lease("stalled").await.unwrap();
    assert_eq!(new.owner(), "stalled");
    store.commit(&new, &batch_of("d", &[id(2, 0)])).await.unwrap();
    assert_eq!(store.commit(&old, &batch_of("d", &[id(3, 0)])).await, Err(CommitError::Fenced));
    // A second process of that name takes the lease from the first.
    let newer = other.lease("stalled").await.unwrap();
    assert_eq!(store.commit(&new, &batch_of("d", &[id(3, 0)])).await, Err(CommitError::Fenced));
    store.commit(&newer, &batch_of("d", &[id(3, 0)])).await.unwrap();
    assert_eq!(messages(&store, "d").await.len(), 4);
}

/// A server of the queue that nobody met before fences all; one that was met does not.
pub async fn a_new_server_of_the_queue_fences_all(url: String) {
    let (store, other) = (open(&url).await, open(&url).await);
    let server = |stream: &str, incarnation: &str| QueueServer {
        stream: stream.to_owned(),
        incarnation: incarnation.to_owned(),
    };
    assert_eq!(store.meet(&[server("s0", "a"), server("s1", "a")]).await.unwrap(), Met::Newly);
    let (mine, its) = (store.lease("mine").await.unwrap(), other.lease("its").await.unwrap());
    assert_eq!(other.meet(&[server("s1", "a")]).await.unwrap(), Met::Before);
    store.commit(&mine, &batch_of("d", &[id(0, 0)])).await.unwrap();
    assert_eq!(other.meet(&[server("s0", "b"), server("s1", "a")]).await.unwrap(), Met::Newly);
    for lease in [&mine, &its] {
        assert_eq!(store.commit(lease, &batch_of("d", &[id(1, 0)])).await, Err(CommitError::Fenced));
    }
    assert_eq!(store.meet(&[server("s0", "b")]).await.unwrap(), Met::Before);
    store.commit(&store.lease("mine").await.unwrap(), &batch_of("d", &[id(1, 0)])).await.unwrap();
    // Eight that meet the same new server at once, and others another: they wait for each other, and none fails.
    let meet = |n: usize| {
        let (store, met) = (store.clone(), [server("s0", "c"), server(&format!("s{}", 1 + n % 3), "c")]);
        tokio::spawn(async move { store.meet(&met[n % 2..]).await.unwrap() })
    };
    let all: Vec<_> = (0..8).map(meet).collect();
    let mut newly = 0;
    for met in all {
        newly += usize::from(met.await.unwrap() == Met::Newly);
    }
    assert!((1..=4).contains(&newly), "{newly}");
}

/// One commits as fast as it can; another fences it at an arbitrary moment and then asks. What it is told must
/// be all that is ever stored.
pub async fn what_committed_says_after_a_fence_is_final(url: String) {
    let (store, other) = (open(&url).await, open(&url).await);
    for round in 0..8_u64 {
        let device = format!("d{round}");
        let lease = store.lease("w").await.unwrap();
        let ids: Vec<_> = (0..400).map(|n| id(round * 1_000 + n, 0)).collect();
        let busy = tokio::spawn(commit_until_fenced(store.clone(), lease, device.clone(), ids.clone()));
        tokio::time::sleep(Duration::from_millis(3 + round * 5)).await;
        other.fence(&["w".to_owned()]).await.unwrap();
        let told = other.committed(&ids).await.unwrap();
        let done = busy.await.unwrap();
        let stored = store.stored_ids(&ids, at(-SECOND)).await.unwrap();
        let stored: HashSet<_> =
            stored.into_iter().filter(|(_, count)| *count == 1).map(|(id, _)| id).collect();
        assert_eq!(told, stored, "round {round}");
        assert_eq!(stored.len(), done, "round {round}");
    }
}

async fn commit_until_fenced(
    store: Store,
    lease: sawpit_store::Lease,
    device: String,
    ids: Vec<sawpit_model::MessageId>,
) -> usize {
    for (n, id) in ids.iter().enumerate() {
        match store.commit(&lease, &batch_of(&device, &[*id])).await {
            Ok(()) => {}
            Err(CommitError::Fenced) => return n,
            Err(other) => panic!("{other}"),
        }
    }
    ids.len()
}

/// The ledger forgets a batch when its commit and its messages are old, measured from the newest commit.
pub async fn the_ledger_forgets_in_time(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let day_ms = u64::try_from(DAY / 1_000).unwrap();
    let mut old = batch_of("d", &[id(0, 0)]);
    store.commit(&lease, &old).await.unwrap();
    // Ten days of silence: nothing can have been acknowledged meanwhile, so nothing may be forgotten.
    store.trim_ledger(at(10 * DAY), KEEP, None).await.unwrap();
    assert_eq!(store.committed(&old.ids).await.unwrap().len(), 1);
    // An old message, committed late, and a young one.
    let mut late = batch_of("d", &[id(1, 0)]);
    late.committed_at = at(10 * DAY);
    store.commit(&lease, &late).await.unwrap();
    let mut young = batch_of("d", &[id(10 * day_ms, 0)]);
    young.committed_at = at(10 * DAY + HOUR);
    store.commit(&lease, &young).await.unwrap();
    store.trim_ledger(at(10 * DAY + HOUR), KEEP, None).await.unwrap();
    old.ids.extend(late.ids.iter().chain(&young.ids));
    let known = store.committed(&old.ids).await.unwrap();
    assert_eq!(known, HashSet::from([late.ids[0], young.ids[0]]));
}

/// What is in the queue may come again, so it is known, whatever the clocks say.
pub async fn the_ledger_remembers_what_is_in_the_queue(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let settled = batch_of("d", &[id(0, 0), id(1, 0)]);
    let in_queue = batch_of("d", &[id(2, 0), id(5, 7), id(5, 9)]);
    let later = batch_of("d", &[id(4, 0), id(6, 0)]);
    for batch in [&settled, &in_queue, &later] {
        store.commit(&lease, batch).await.unwrap();
    }
    let young = Batch { committed_at: at(10 * DAY), ..batch_of("d", &[id(7, 0)]) };
    store.commit(&lease, &young).await.unwrap();
    let ids: Vec<_> = [&settled, &in_queue, &later].into_iter().flat_map(|batch| batch.ids.clone()).collect();
    // The second batch was not acknowledged, or only in part.
    for oldest in [id(2, 0), id(5, 7)] {
        store.trim_ledger(at(10 * DAY), KEEP, Some(oldest)).await.unwrap();
        let known = store.committed(&ids).await.unwrap();
        assert_eq!(known, in_queue.ids.iter().chain(&later.ids).copied().collect(), "{oldest}");
    }
    store.trim_ledger(at(10 * DAY), KEEP, None).await.unwrap();
    assert!(store.committed(&ids).await.unwrap().is_empty());
    assert_eq!(store.committed(&young.ids).await.unwrap().len(), 1);
}
