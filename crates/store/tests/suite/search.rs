//! Searching, alike on either database.

use std::time::Duration;

use sawpit_model::{Level, RawObject};
use sawpit_store::{
    Index, IndexSettings, Indexed, IndexedRows, LogQuery, Row, Search, Store, StoreError, StoreSettings,
    Total,
};

use super::kit::*;

async fn open_with(url: &str, text: bool, data: bool) -> Store {
    let index = IndexSettings { text, data, ..IndexSettings::default() };
    let store = Store::open(StoreSettings { index, ..settings(url) }, now()).await.unwrap();
    store.note_indexes(now()).await.unwrap();
    store
}

fn words(text: &str) -> Search {
    let mut search = Search::default();
    search.words(text).unwrap();
    search
}

fn data(path: &str, value: &str) -> Search {
    let mut search = Search::default();
    search.data(path, value).unwrap();
    search
}

/// A row whose text, data, level, device and place in time all differ.
fn odd_row(n: i64) -> Row {
    let mut log = log(&format!("d{}", n % 3), &message(n), at(-n * n * SECOND / 7));
    log.log_level = Level::ALL[(n % 5) as usize];
    let text =
        format!(r#"{{"n":{n},"mod":{{"seven":{},"name":"n{}"}},"odd":{}}}"#, n % 7, n % 11, n % 2 == 1);
    log.log_data = RawObject::from_trusted(text);
    row(id(100_000 - n as u64, 0), log)
}

fn message(n: i64) -> String {
    let mut text = format!("Reading {n}: every");
    for (step, word) in [(2, "Second"), (10, "tenth"), (100, "hundredth"), (700, "seldöm")] {
        if n % step == 0 {
            text.push_str(&format!(" {word},"));
        }
    }
    text
}

/// All pages of a query.
async fn read(store: &Store, query: LogQuery) -> Vec<String> {
    let (mut query, mut found) = (query, Vec::new());
    loop {
        let page = store.query(&query).await.unwrap();
        found.extend(page.rows.into_iter().map(|row| row.message));
        if page.next_cursor.is_none() {
            return found;
        }
        query.cursor = page.next_cursor;
    }
}

/// Every search finds what [`Search::finds`] says, newest first, on pages of any size, with all other filters.
pub async fn what_is_found(url: String) {
    let store = open_with(&url, true, true).await;
    let lease = store.lease("w").await.unwrap();
    let mut rows: Vec<Row> = (0..1_500).map(odd_row).collect();
    // Stored in another order than they were received.
    rows.sort_by_key(|row| row.log.message.len() * 7_919 % 101);
    for rows in rows.chunks(250) {
        store.commit(&lease, &batch(rows.to_vec())).await.unwrap();
    }
    rows.sort_by_key(|row| std::cmp::Reverse((row.log.received_at, row.sources[0])));
    let mut both = words("second");
    both.data("odd", "false").unwrap();
    let searches = [
        words("every"),
        words("second"),
        words("READING tenth"),
        words("hundredth"),
        words("SELDÖM"),
        words("7*"),
        words("nowhere"),
        data("mod.seven", "3"),
        data("mod.name", "n4"),
        data("n", "77.0"),
        data("n", "-1"),
        both,
    ];
    for search in searches {
        for (limit, device, levels) in [
            (7, None, vec![]),
            (1_000, None, vec![]),
            (50, Some("d1"), vec![]),
            (50, None, vec![Level::Error]),
            (9, Some("d2"), vec![Level::Debug, Level::Critical]),
            (1_000, None, Level::ALL.to_vec()),
        ] {
            let (since, until) =
                if limit == 50 { (Some(at(-40 * HOUR)), Some(at(-60 * SECOND))) } else { (None, None) };
            let device_id = device.map(str::to_owned);
            let wanted = rows.iter().filter(|row| {
                search.finds(&row.log.message, &row.log.log_data)
                    && device.is_none_or(|device| row.log.device_id == device)
                    && (levels.is_empty() || levels.contains(&row.log.log_level))
                    && since.is_none_or(|since| row.log.received_at >= since)
                    && until.is_none_or(|until| row.log.received_at < until)
            });
            let wanted: Vec<String> = wanted.map(|row| row.log.message.clone()).collect();
            let (search, levels) = (search.clone(), levels.clone());
            let query = LogQuery { search, device_id, levels, since, until, limit, ..LogQuery::default() };
            assert_eq!(read(&store, query.clone()).await, wanted, "{query:?}");
        }
    }
}

/// A common word in a level that it is never in, and two common words that never meet: nothing is found, and the first is
/// seen by the index alone.
pub async fn what_never_meets_is_not_found(url: String) {
    let store = open_with(&url, true, false).await;
    let lease = store.lease("w").await.unwrap();
    let rows = (0..2_000_u64).map(|n| {
        let mut log = log("d", if n % 2 == 0 { "common even" } else { "common odd" }, at(-(n as i64) * HOUR));
        log.log_level = if n % 500 == 0 { Level::Error } else { Level::Info };
        row(id(n, 0), log)
    });
    for rows in rows.collect::<Vec<_>>().chunks(500) {
        store.commit(&lease, &batch(rows.to_vec())).await.unwrap();
    }
    for (text, levels, found) in [
        ("common", vec![Level::Critical], 0),
        ("common", vec![Level::Critical, Level::Debug], 0),
        ("common", vec![Level::Critical, Level::Error], 4),
        ("odd", vec![Level::Error], 0),
        ("even odd", vec![], 0),
        ("common even", vec![], 1_000),
    ] {
        let query = LogQuery { search: words(text), levels: levels.clone(), ..LogQuery::default() };
        assert_eq!(read(&store, query).await.len(), found, "{text} {levels:?}");
    }
}

/// A search that has no time left is ended, and says what limit that was.
pub async fn a_search_has_a_time_limit(url: String) {
    let store = open_with(&url, true, false).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch((0..20).map(odd_row).collect())).await.unwrap();
    let query = LogQuery { search: words("second"), ..LogQuery::default() };
    assert_eq!(read(&store, query.clone()).await.len(), 10);
    let limit = Duration::ZERO;
    let ended = store.rows(&LogQuery { time_limit: limit, ..query.clone() }).await;
    assert_eq!(ended, Err(StoreError::TooLong { limit }));
    // What is no search costs what its page costs.
    let page = LogQuery { search: Search::default(), time_limit: limit, ..query };
    assert_eq!(store.rows(&page).await.unwrap().rows.len(), 20);
}

/// A page ends with the row before the one that would be too many bytes, and the next goes on there, with and without a
/// search; one that is larger than a page is a page.
pub async fn pages_have_a_limit_of_bytes(url: String) {
    let store = open_with(&url, true, false).await;
    let lease = store.lease("w").await.unwrap();
    let rows = (0..40_u64).map(|n| {
        let mut row =
            row(id(n, 0), log("d", &format!("word {n} {}", "x".repeat(1_000)), at(-(n as i64) * HOUR)));
        if n == 20 {
            row.log.log_data = RawObject::from_trusted(format!(r#"{{"big":"{}"}}"#, "y".repeat(4_000)));
        }
        row
    });
    store.commit(&lease, &batch(rows.collect())).await.unwrap();
    for search in [Search::default(), words("word")] {
        let mut query = LogQuery { search, page_bytes: 3_500, ..LogQuery::default() };
        let (mut pages, mut found) = (Vec::new(), Vec::new());
        loop {
            let page = store.rows(&query).await.unwrap();
            pages.push(page.rows.len());
            found.extend(page.rows.into_iter().map(|row| row.message_id));
            let Some(cursor) = page.next_cursor else { break };
            query.cursor = Some(cursor);
        }
        assert_eq!(found, (0..40).map(|n| id(n, 0)).collect::<Vec<_>>());
        assert_eq!(pages, [3, 3, 3, 3, 3, 3, 2, 1, 3, 3, 3, 3, 3, 3, 1]);
    }
}

/// The total is what the page shows, and says so.
pub async fn totals_of_a_search(url: String) {
    let store = open_with(&url, true, false).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch((0..20).map(odd_row).collect())).await.unwrap();
    for (limit, total) in [(100, Total::Exact(10)), (10, Total::Exact(10)), (9, Total::AtLeast(9))] {
        let query = LogQuery { search: words("second"), limit, ..LogQuery::default() };
        assert_eq!(store.query(&query).await.unwrap().total, total);
    }
}

/// What is not kept is said, by its setting; and since when it is.
pub async fn indexes_are_noted(url: String) {
    let store = open_with(&url, false, false).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch(vec![odd_row(10)])).await.unwrap();
    assert_eq!(store.indexed(&words("a")).await.unwrap(), Indexed::Missing(Index::Text));
    assert_eq!(store.indexed(&data("a", "b")).await.unwrap(), Indexed::Missing(Index::Data));
    let store = open_with(&url, true, false).await;
    assert_eq!(store.indexed(&words("a")).await.unwrap(), Indexed::Since(now()));
    // Another worker that starts later changes nothing.
    store.note_indexes(at(HOUR)).await.unwrap();
    assert_eq!(store.indexed(&words("a")).await.unwrap(), Indexed::Since(now()));
    let mut both = words("a");
    both.data("a", "b").unwrap();
    assert_eq!(store.indexed(&both).await.unwrap(), Indexed::Missing(Index::Data));
    store.commit(&lease, &batch(vec![odd_row(20)])).await.unwrap();
    let query = LogQuery { search: words("tenth"), ..LogQuery::default() };
    assert_eq!(read(&store, query).await, [message(20)], "only what was stored since then");
    open_with(&url, false, true).await;
    assert_eq!(store.indexed(&words("a")).await.unwrap(), Indexed::Missing(Index::Text));
    assert_eq!(store.indexed(&data("a", "b")).await.unwrap(), Indexed::Since(now()));
}

/// Rows of before are found as far back as the indexing has come, and the answer says how far that is.
pub async fn older_rows_are_found_once_they_are_indexed(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let mut rows: Vec<Row> = (0..500).map(|n| Row { part: 3, ..odd_row(n) }).collect();
    // Many of one instant, so that a step ends among them.
    for row in &mut rows[100..200] {
        row.log.received_at = at(-HOUR);
    }
    store.commit(&lease, &batch(rows.clone())).await.unwrap();
    assert!(store.older_rows(1_000).await.unwrap().is_none(), "no worker keeps an index");
    let store = open_with(&url, true, true).await;
    let mut both = words("tenth");
    both.data("mod.seven", "3").unwrap();
    let query = LogQuery { search: both.clone(), ..LogQuery::default() };
    assert!(read(&store, query.clone()).await.is_empty());
    let mut older = store.older_rows(1_000).await.unwrap().unwrap();
    let (mut steps, mut looked_at) = (0, 0);
    while let IndexedRows::Some { rows: step, since } = store.index_older(&mut older, 70).await.unwrap() {
        (steps, looked_at) = (steps + 1, looked_at + step);
        assert_eq!(store.indexed(&both).await.unwrap(), Indexed::Since(since));
        let found = read(&store, LogQuery { since: Some(since), ..query.clone() }).await.len();
        let has = |row: &&Row| both.finds(&row.log.message, &row.log.log_data);
        assert_eq!(found, rows.iter().filter(|row| row.log.received_at >= since).filter(has).count());
    }
    assert_eq!((steps, looked_at), (8, 500));
    assert_eq!(store.index_older(&mut older, 70).await.unwrap(), IndexedRows::None);
    // Again, from where it ended: nothing is found twice.
    let mut older = store.older_rows(1_000).await.unwrap().unwrap();
    while store.index_older(&mut older, 300).await.unwrap() != IndexedRows::None {}
    let found = read(&store, query).await;
    assert_eq!(
        found.len(),
        rows.iter().filter(|row| both.finds(&row.log.message, &row.log.log_data)).count()
    );
    assert!(!found.is_empty());
}

/// What retention deletes is not found any more, and the rest is.
pub async fn searching_after_forgetting(url: String) {
    let store = open_with(&url, true, true).await;
    let lease = store.lease("w").await.unwrap();
    let aged = |n: u64, days: i64| row(id(n, 0), log("d", &format!("aged {days}"), at(-days * DAY)));
    let rows: Vec<Row> = (0..60).map(|n| aged(n, n as i64)).collect();
    store.commit(&lease, &batch(rows)).await.unwrap();
    store.forget(at(-30 * DAY)).await.unwrap();
    let query = LogQuery { search: words("aged"), limit: 1_000, ..LogQuery::default() };
    let left: Vec<String> = (0..=30).map(|days| format!("aged {days}")).collect();
    assert_eq!(read(&store, query.clone()).await, left);
    store.commit(&lease, &batch(vec![aged(100, 3)])).await.unwrap();
    assert_eq!(read(&store, query).await.len(), left.len() + 1);
}
