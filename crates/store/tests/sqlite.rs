//! The store on SQLite.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]
#![allow(clippy::print_stderr, missing_docs)]

mod suite;

use sawpit_store::{OpenError, Store};
use suite::kit::{batch_of, id, messages, now, open, settings};

fn file(folder: &tempfile::TempDir, name: &str) -> String {
    format!("sqlite:{}", folder.path().join(name).display())
}

#[test]
fn contract() {
    let folder = tempfile::tempdir().unwrap();
    suite::contract(|name| file(&folder, name));
}

#[tokio::test]
async fn refuses_urls_that_name_no_file() {
    for url in ["sqlite::memory:", "sqlite://x?mode=memory", "mysql://me:secret@host/db", "nonsense"] {
        let error = Store::open(settings(url), now()).await.unwrap_err();
        assert!(matches!(error, OpenError::Url { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = Store::open(settings("sqlite:/no/such/folder/logs.db"), now()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("logs.db"), "not a database, but 16 bytes and more\n".repeat(100))
        .unwrap();
    assert!(Store::open(settings(&file(&folder, "logs.db")), now()).await.is_err());
    let text = std::fs::read_to_string(folder.path().join("logs.db")).unwrap();
    assert!(text.starts_with("not a database"));
}

/// A copy of the files, taken while the store is open, is what a power cut leaves behind.
#[tokio::test]
async fn what_is_committed_is_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file(&folder, "a.db")).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1)])).await.unwrap();
    for end in ["", "-wal"] {
        let name = |stem: &str| folder.path().join(format!("{stem}.db{end}"));
        std::fs::copy(name("a"), name("b")).unwrap();
    }
    let copy = open(&file(&folder, "b.db")).await;
    assert_eq!(messages(&copy, "d").await.len(), 2);
    assert_eq!(copy.committed(&[id(0, 1)]).await.unwrap().len(), 1);
}
