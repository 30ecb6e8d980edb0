//! What is stored is what is read.

use sawpit_model::{Level, MessageId, PluginVerdicts, RawObject, Tally, Verdict};
use sawpit_store::{
    Batch, ChainMember, CommitError, Cursor, LogQuery, Page, Row, Store, Total, VerdictWrite,
};

use super::kit::*;

pub async fn newest_first_with_all_fields(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1), id(1, 0)])).await.unwrap();
    store.commit(&lease, &batch_of("other", &[id(2, 0)])).await.unwrap();
    assert_eq!(messages(&store, "d").await, ["message 2", "message 1", "message 0"]);
    let page = store.query(&LogQuery { limit: 1, ..all_of("d") }).await.unwrap();
    let row = &page.rows[0];
    assert_eq!((row.message_id, row.part, row.log_level), (id(1, 0), 0, Level::Info));
    assert_eq!((row.received_at, row.chain.as_str()), (at(2), "enrich@1.0#ab"));
    assert_eq!(json(row.log_data.as_str()), json(r#"{"a":1,"b":["x",null]}"#));
    assert!(row.sources.is_empty());
    assert_eq!((page.total.value(), page.rows.len()), (3, 1));
    assert_eq!(
        store.query(&all_of("nobody")).await.unwrap(),
        Page { total: Total::Exact(0), rows: vec![], next_cursor: None }
    );
}

pub async fn logs_of_one_instant_keep_the_queue_order(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let rows = |ids: &[(u64, u64)]| {
        batch(
            ids.iter().map(|(ms, seq)| row(id(*ms, *seq), log("d", &format!("{ms}-{seq}"), now()))).collect(),
        )
    };
    store.commit(&lease, &rows(&[(5, 0), (5, 1)])).await.unwrap();
    store.commit(&lease, &rows(&[(4, 11), (5, 2), (4, 2)])).await.unwrap();
    assert_eq!(messages(&store, "d").await, ["5-2", "5-1", "5-0", "4-11", "4-2"]);
}

pub async fn unicode_and_odd_text(url: String) {
    let store = open(&url).await;
    let lease = store.lease("wörker-😀").await.unwrap();
    let mut log =
        log("gerät-\u{1F600}", "Zeile 1\nZeile 2\t\u{202E}abc\u{0301} '); DROP TABLE logs; --", now());
    log.log_data = RawObject::from_trusted(r#"{"ключ":"值","e":"\ud83d\ude00","q":"\"\\","n":1.5e3,"":{}}"#);
    let mut row = row(id(0, 0), log.clone());
    row.chain = "цепь".to_owned();
    store.commit(&lease, &batch(vec![row])).await.unwrap();
    let page = store.query(&all_of(&log.device_id)).await.unwrap();
    let stored = &page.rows[0];
    assert_eq!(
        (&stored.device_id, &stored.message, stored.chain.as_str()),
        (&log.device_id, &log.message, "цепь")
    );
    let (stored, sent) = (json(stored.log_data.as_str()), json(log.log_data.as_str()));
    assert_eq!((&stored["ключ"], &stored["e"], &stored["q"]), (&sent["ключ"], &sent["e"], &sent["q"]));
    assert_eq!(stored["n"].as_f64(), Some(1500.0));
    assert_eq!(stored[""], json("{}"));
}

pub async fn found_by_the_plugins_that_made_them(url: String) {
    let store = open(&url).await;
    let member = |plugin: &str, version: &str, percent| ChainMember {
        plugin: plugin.to_owned(),
        version: version.to_owned(),
        hash: "0123456789abcdef".to_owned(),
        percent,
    };
    let (geo, mask) = (member("geo", "1.0.0", None), member("mask", "1.0.0", None));
    let canary = member("geo", "2.0.0", Some(5));
    for (chain, members) in [
        ("aa", vec![geo.clone(), mask.clone()]),
        ("bb", vec![canary.clone(), geo.clone()]),
        ("aab", vec![mask.clone()]),
        ("none", vec![]),
    ] {
        store.describe_chain(chain, &members).await.unwrap();
        store.describe_chain(chain, &members).await.unwrap();
        assert_eq!(store.explain_chain(chain).await.unwrap(), members);
    }
    assert!(store.explain_chain("unknown").await.unwrap().is_empty());
    let lease = store.lease("w").await.unwrap();
    let rows = ["aa", "none+bb", "aab", "none", "gone"].iter().enumerate().map(|(n, chain)| {
        let row = row(id(n as u64, 0), log("d", chain, at(n as i64)));
        Row { chain: (*chain).to_owned(), ..row }
    });
    store.commit(&lease, &batch(rows.collect())).await.unwrap();
    let made_by = async |plugin: &str| {
        let query = LogQuery { plugin: Some(plugin.parse().unwrap()), ..all_of("d") };
        let page = store.query(&query).await.unwrap();
        assert_eq!(page.total.value(), page.rows.len() as u64);
        page.rows.into_iter().map(|row| row.message).collect::<Vec<_>>()
    };
    assert_eq!(made_by("geo").await, ["none+bb", "aa"]);
    assert_eq!(made_by("geo@2.0.0").await, ["none+bb"]);
    assert_eq!(made_by("mask@1.0.0").await, ["aab", "aa"]);
    assert!(made_by("mask@9.0.0").await.is_empty());
    assert!(made_by("nobody").await.is_empty());
}

pub async fn filters(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let mut rows = Vec::new();
    for (n, level) in Level::ALL.into_iter().enumerate() {
        let mut log = log("d", level.as_str(), at(n as i64 * SECOND));
        log.log_level = level;
        rows.push(row(id(n as u64, 0), log));
    }
    store.commit(&lease, &batch(rows)).await.unwrap();
    let ask = async |levels: &[Level], since, until| {
        let query = LogQuery { levels: levels.to_vec(), since, until, ..all_of("d") };
        let page = store.query(&query).await.unwrap();
        assert_eq!(page.total.value(), page.rows.len() as u64);
        page.rows.iter().map(|row| row.log_level).collect::<Vec<_>>()
    };
    let (t1, t3) = (Some(at(SECOND)), Some(at(3 * SECOND)));
    assert_eq!(ask(&[Level::Error, Level::Debug], None, None).await, [Level::Error, Level::Debug]);
    // since is the first wanted moment, until the first unwanted.
    assert_eq!(ask(&[], t1, t3).await, [Level::Warning, Level::Info]);
    assert_eq!(ask(&[], t3, None).await, [Level::Critical, Level::Error]);
    assert_eq!(ask(&[], None, t1).await, [Level::Debug]);
    assert_eq!(ask(&[Level::Info], t1, t3).await, [Level::Info]);
    assert_eq!(ask(&[], t3, t1).await, []);
}

/// Three devices, whose levels come at different rates, read as one stream.
pub async fn all_devices(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let levels = |n: u64| match n {
        _ if n.is_multiple_of(50) => Level::Critical,
        _ if n.is_multiple_of(7) => Level::Error,
        _ => Level::Info,
    };
    let rows = (0..200_u64).map(|n| {
        // Pairs of one instant: the queue's order decides.
        let mut log = log(&format!("d{}", n % 3), &n.to_string(), at((n / 2) as i64 * SECOND));
        log.log_level = levels(n);
        row(id(n, 0), log)
    });
    store.commit(&lease, &batch(rows.collect())).await.unwrap();
    let read = async |query: LogQuery| {
        let (mut query, mut found, mut total) = (LogQuery { limit: 9, ..query }, Vec::new(), None);
        loop {
            let page = store.query(&query).await.unwrap();
            assert_eq!(*total.get_or_insert(page.total), page.total);
            found.extend(page.rows.iter().map(|row| row.message.parse::<u64>().unwrap()));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                assert_eq!(total, Some(Total::Exact(found.len() as u64)));
                return found;
            }
        }
    };
    let newest_first =
        |wanted: &dyn Fn(u64) -> bool| (0..200).rev().filter(|n| wanted(*n)).collect::<Vec<_>>();
    assert_eq!(read(LogQuery::default()).await, newest_first(&|_| true));
    let grave = LogQuery { levels: vec![Level::Error, Level::Critical], ..LogQuery::default() };
    assert_eq!(read(grave.clone()).await, newest_first(&|n| levels(n) != Level::Info));
    let of_device = LogQuery { device_id: Some("d1".to_owned()), ..grave.clone() };
    assert_eq!(read(of_device).await, newest_first(&|n| n % 3 == 1 && levels(n) != Level::Info));
    let span = LogQuery { since: Some(at(10 * SECOND)), until: Some(at(60 * SECOND)), ..grave };
    assert_eq!(read(span).await, newest_first(&|n| (20..120).contains(&n) && levels(n) != Level::Info));
}

/// What the totals do not know is counted up to a limit.
pub async fn counting_has_a_limit(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let ids: Vec<MessageId> = (0..20).map(|n| id(n, 0)).collect();
    store.commit(&lease, &batch_of("d", &ids)).await.unwrap();
    let total = async |device: Option<&str>, since, count_limit| {
        let device_id = device.map(str::to_owned);
        let query = LogQuery { device_id, since, count_limit, limit: 1, ..LogQuery::default() };
        store.query(&query).await.unwrap().total
    };
    for device in [Some("d"), None] {
        assert_eq!(total(device, None, 0).await, Total::Exact(20));
        assert_eq!(total(device, Some(at(5)), 15).await, Total::Exact(15));
        assert_eq!(total(device, Some(at(5)), 14).await, Total::AtLeast(14));
        assert_eq!(total(device, Some(at(5)), 0).await, Total::AtLeast(0));
        assert_eq!(total(device, Some(at(20)), 0).await, Total::Exact(0));
    }
}

pub async fn split_and_merged(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let part = |part| {
        let mut row = row(id(0, 0), log("split", &format!("part {part}"), now()));
        row.part = part;
        row
    };
    let mut merged = row(id(1, 0), log("merged", "three in one", now()));
    merged.sources = vec![id(1, 0), id(1, 1), id(1, 2), id(1, 1)];
    let mut batch = batch(vec![part(0), part(1), part(2), merged]);
    batch.ids = vec![id(0, 0), id(1, 0), id(1, 1), id(1, 2), id(9, 9)];
    store.commit(&lease, &batch).await.unwrap();
    assert_eq!(messages(&store, "split").await, ["part 2", "part 1", "part 0"]);
    let rows = store.query(&all_of("merged")).await.unwrap().rows;
    assert_eq!(rows[0].sources, [id(1, 0), id(1, 1), id(1, 2)]);
    let ids = [id(1, 2), id(0, 0), id(1, 0), id(9, 9), id(1, 1)];
    let stored = store.stored_ids(&ids, at(-SECOND)).await.unwrap();
    let expected = [(ids[0], 1), (ids[1], 3), (ids[2], 1), (ids[3], 0), (ids[4], 1)];
    assert_eq!(stored, expected);
    let later = store.stored_ids(&ids, at(SECOND)).await.unwrap();
    assert!(later.iter().all(|(_, count)| *count == 0), "{later:?}");
    let row = serde_json::to_value(&rows[0]).unwrap();
    assert_eq!(row["sources"][2], id(1, 2).to_string());
    assert_eq!(row["received_at"], "2026-11-23T12:00:00.000000Z");
    assert_eq!(row["log_data"]["a"], 1);
}

/// Two writers insert older and newer rows while a reader pages: it sees each row that was there at its start
/// exactly once.
pub async fn paging_under_inserts(url: String) {
    const BEFORE: u64 = 250;
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let ids: Vec<MessageId> = (0..BEFORE).map(|n| id(n / 7, n % 7)).collect();
    for ids in ids.chunks(100) {
        store.commit(&lease, &batch_of("d", ids)).await.unwrap();
    }
    let writer = tokio::spawn(insert_for_a_while(store.clone()));
    let mut seen = Vec::new();
    let mut query = LogQuery { limit: 7, ..all_of("d") };
    loop {
        let page = store.query(&query).await.unwrap();
        assert!(page.total.value() >= BEFORE);
        seen.extend(page.rows.iter().map(|row| (row.received_at, row.message_id)));
        // As the API does it: as text.
        query.cursor = page.next_cursor.map(|cursor| cursor.to_string().parse::<Cursor>().unwrap());
        if query.cursor.is_none() {
            break;
        }
    }
    writer.await.unwrap();
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "not strictly newest first");
    let found = ids.iter().filter(|id| seen.iter().any(|(_, seen)| seen == *id)).count();
    assert_eq!(found as u64, BEFORE);
}

async fn insert_for_a_while(store: Store) {
    let lease = store.lease("busy").await.unwrap();
    for n in 0..60 {
        let place = if n % 2 == 0 { n * SECOND } else { -n };
        let new = row(id(1_000 + n as u64, 0), log("d", "meanwhile", at(place)));
        store.commit(&lease, &batch(vec![new])).await.unwrap();
    }
}

pub async fn exact_pages_end(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1), id(0, 2), id(0, 3)])).await.unwrap();
    let page = store.query(&LogQuery { limit: 4, ..all_of("d") }).await.unwrap();
    assert_eq!((page.rows.len(), page.next_cursor), (4, None));
    let page = store.query(&LogQuery { limit: 3, ..all_of("d") }).await.unwrap();
    let query = LogQuery { limit: 3, cursor: page.next_cursor, ..all_of("d") };
    let page = store.query(&query).await.unwrap();
    assert_eq!((page.total.value(), page.rows.len(), page.next_cursor), (4, 1, None));
}

pub async fn large_batches(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let ids: Vec<MessageId> = (0..1_234).map(|n| id(0, n)).collect();
    store.commit(&lease, &batch_of("d", &ids)).await.unwrap();
    let stored = store.stored_ids(&ids, at(-1)).await.unwrap();
    assert!(stored.iter().all(|(_, count)| *count == 1));
    let mut big = log("big", &"x".repeat(1 << 20), now());
    big.log_data = RawObject::from_trusted(format!(r#"{{"t":"{}"}}"#, "y".repeat(1 << 20)));
    store.commit(&lease, &batch(vec![row(id(1, 0), big.clone())])).await.unwrap();
    let rows = store.query(&all_of("big")).await.unwrap().rows;
    assert_eq!(rows[0].message, big.message);
}

pub async fn statistics(url: String) {
    let store = open(&url).await;
    let empty = store.stats(now()).await.unwrap();
    assert_eq!((empty.total, empty.per_level.len(), empty.last_minute), (0, 5, 0));
    let lease = store.lease("w").await.unwrap();
    let mut rows = Vec::new();
    for device in 0..12_u64 {
        for n in 0..=device {
            let mut log = log(&format!("d{device:02}"), "m", at(-(n as i64) * 20 * SECOND));
            log.log_level = if n == 0 { Level::Critical } else { Level::Debug };
            rows.push(row(id(device, n), log));
        }
    }
    store.commit(&lease, &batch(rows)).await.unwrap();
    let stats = store.stats(now()).await.unwrap();
    assert_eq!(
        (stats.total, stats.per_level[&Level::Critical], stats.per_level[&Level::Debug]),
        (78, 12, 66)
    );
    assert_eq!((stats.per_level[&Level::Info], stats.top_devices.len()), (0, 10));
    assert_eq!(stats.top_devices[0], ("d11".to_owned(), 12));
    assert_eq!(stats.top_devices[9], ("d02".to_owned(), 3));
    // At 0, 20 and 40 s before now; the minute excludes its first moment.
    assert_eq!(stats.last_minute, 12 + 11 + 10);
    assert!((stats.last_minute_rate - 33.0 / 60.0).abs() < 1e-9);
    assert_eq!(serde_json::to_value(&stats).unwrap()["per_level"]["CRITICAL"], 12);
}

/// Many batches of several workers, while others read: what is read never goes back, and ends at what is stored.
pub async fn statistics_are_exact_under_load(url: String) {
    const BATCHES: u64 = 150;
    let store = open(&url).await;
    let reader = tokio::spawn(read_ascending_totals(store.clone(), 3 * BATCHES * 2));
    let worker = async |worker: u64| {
        let lease = store.lease(&format!("w{worker}")).await.unwrap();
        for n in 0..BATCHES {
            let own = id(worker * 1_000_000 + n, 0);
            let one = row(own, log("shared", "m", at(-SECOND)));
            let other = Row { part: 1, ..row(own, log(&format!("d{}", n % 5), "m", at(-120 * SECOND))) };
            store.commit(&lease, &batch(vec![one, other])).await.unwrap();
        }
    };
    tokio::join!(worker(0), worker(1), worker(2));
    reader.await.unwrap();
    let stats = store.stats(now()).await.unwrap();
    assert_eq!((stats.total, stats.per_level[&Level::Info]), (6 * BATCHES, 6 * BATCHES));
    assert_eq!(stats.top_devices[0], ("shared".to_owned(), 3 * BATCHES));
    assert_eq!(stats.top_devices.iter().map(|(_, n)| n).sum::<u64>(), 6 * BATCHES);
    assert_eq!(stats.last_minute, 3 * BATCHES);
    assert_eq!(stats.per_minute.iter().map(|minute| minute.count).sum::<u64>(), 6 * BATCHES);
    store.maintain(now()).await.unwrap();
    assert_eq!(store.stats(now()).await.unwrap(), stats);
    // A day later its seconds are forgotten, the totals not.
    store.maintain(at(2 * DAY)).await.unwrap();
    let later = store.stats(now()).await.unwrap();
    assert_eq!((later.total, later.last_minute), (6 * BATCHES, 0));
}

async fn read_ascending_totals(store: Store, last: u64) {
    let mut before = 0;
    while before < last {
        let stats = store.stats(now()).await.unwrap();
        assert!(stats.total >= before, "{before} were read before: {stats:?}");
        // Each batch adds two, in one transaction.
        assert_eq!(stats.total % 2, 0, "{stats:?}");
        assert_eq!(stats.top_devices.iter().map(|(_, n)| n).sum::<u64>(), stats.total, "{stats:?}");
        before = stats.total;
    }
}

/// A batch's are counted with it, once however often it is tried; a host's are added.
pub async fn verdicts_of_plugins(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let mut given = Tally::default();
    given.count("redact", "1.0.0", Verdict::Changed, 2);
    given.count("redact", "1.0.0", Verdict::Accepted, 1);
    given.count("sample", "0.1.0", Verdict::Dropped, 7);
    let stored = Batch { verdicts: given.clone(), ..batch_of("d", &[id(1, 0)]) };
    store.commit(&lease, &stored).await.unwrap();
    store.commit(&lease, &stored).await.unwrap();
    // All of it dropped: there are verdicts without a row.
    let dropped = Batch { ids: vec![id(2, 0)], rows: vec![], verdicts: given.clone(), committed_at: now() };
    store.commit(&lease, &dropped).await.unwrap();
    let mut host = Tally::default();
    host.count("filter", "2.0.0", Verdict::Rejected, 5);
    host.count("redact", "1.1.0", Verdict::Accepted, 1);
    let write = |writer: &str, number, tally: &Tally| VerdictWrite {
        writer: writer.to_owned(),
        number,
        written_at: now(),
        tally: tally.clone(),
    };
    // The answer of the first was lost, so the same comes again, also while it is being counted.
    let tries = (0..4).map(|_| {
        let (store, write) = (store.clone(), write("a", 1, &host));
        tokio::spawn(async move { store.add_verdicts(&write).await })
    });
    for task in tries.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    store.add_verdicts(&write("a", 2, &Tally::default())).await.unwrap();
    store.add_verdicts(&write("a", 3, &host)).await.unwrap();
    store.add_verdicts(&write("b", 1, &host)).await.unwrap();
    store.add_verdicts(&write("a", 1, &host)).await.unwrap();
    let read = async || {
        let plugins = store.stats(now()).await.unwrap().plugins;
        let counts = |it: &PluginVerdicts| Verdict::ALL.map(|verdict| it.of(verdict));
        plugins.iter().map(|it| (format!("{}@{}", it.plugin, it.version), counts(it))).collect::<Vec<_>>()
    };
    let expected = [
        ("filter@2.0.0", [0, 0, 0, 15]),
        ("sample@0.1.0", [0, 0, 14, 0]),
        ("redact@1.0.0", [2, 4, 0, 0]),
        ("redact@1.1.0", [3, 0, 0, 0]),
    ];
    assert_eq!(read().await, expected.map(|(plugin, counts)| (plugin.to_owned(), counts)));
    store.maintain(now()).await.unwrap();
    assert_eq!(read().await, expected.map(|(plugin, counts)| (plugin.to_owned(), counts)));
}

/// Old rows go, in more than one step, the others stay, and so says every count.
pub async fn forgetting(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let old = (0..1_500_u64).map(|n| {
        let mut log = log(&format!("old{}", n % 2), "old", at(-40 * DAY + n as i64));
        log.log_level = if n < 20 { Level::Error } else { Level::Info };
        row(id(n, 0), log)
    });
    let old: Vec<Row> = old.collect();
    for rows in old.chunks(500) {
        store.commit(&lease, &batch(rows.to_vec())).await.unwrap();
    }
    let young = [-30 * DAY, -20 * DAY, 0].map(|place| log("old0", &format!("young {place}"), at(place)));
    let young = young.into_iter().enumerate().map(|(n, log)| row(id(9_000 + n as u64, 0), log));
    store.commit(&lease, &batch(young.collect())).await.unwrap();
    let forgotten = store.forget(at(-30 * DAY)).await.unwrap();
    assert_eq!((forgotten.rows, forgotten.days), (1_500, 0));
    let left = ["young 0", "young -1728000000000", "young -2592000000000"];
    assert_eq!(messages(&store, "old0").await, left);
    assert!(messages(&store, "old1").await.is_empty());
    let stats = store.stats(now()).await.unwrap();
    assert_eq!((stats.total, stats.per_level[&Level::Info], stats.per_level[&Level::Error]), (3, 3, 0));
    assert_eq!(stats.top_devices, [("old0".to_owned(), 3)]);
    assert_eq!(store.forget(at(-30 * DAY)).await.unwrap().rows, 0);
    assert_eq!(store.stats(now()).await.unwrap(), stats);
}

/// Whatever the database, ids that it cannot hold are the data's fault, and nothing of the batch is stored.
pub async fn refused_data(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let good = row(id(0, 0), log("d", "good", now()));
    let mut unnamed = good.clone();
    unnamed.sources.clear();
    let mut far = good.clone();
    far.part = u32::MAX;
    let huge = MessageId { ms: u64::MAX, seq: 0 };
    for bad in [unnamed, far, row(huge, log("d", "huge id", now()))] {
        let mut batch = batch(vec![good.clone(), bad]);
        batch.ids = vec![id(0, 0)];
        let refused = store.commit(&lease, &batch).await;
        assert!(matches!(refused, Err(CommitError::Refused { .. })), "{refused:?}");
    }
    assert_eq!(messages(&store, "d").await, [""; 0]);
    assert!(store.committed(&[id(0, 0), huge]).await.unwrap().is_empty());
    assert_eq!(store.stored_ids(&[huge], now()).await.unwrap(), [(huge, 0)]);
    store.commit(&lease, &batch(vec![good])).await.unwrap();
    assert_eq!(messages(&store, "d").await, ["good"]);
}
