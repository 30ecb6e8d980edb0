//! Opening and reopening.

use sawpit_store::{CommitError, Revoked, Role, Store, Token};

use super::kit::*;

pub async fn eight_at_once(url: String) {
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(Store::open(settings(&url), now()))).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let store = task.await.unwrap().unwrap();
        let lease = store.lease(&format!("w{n}")).await.unwrap();
        store.commit(&lease, &batch_of("d", &[id(n as u64, 0)])).await.unwrap();
        store.close().await;
    }
    assert_eq!(messages(&open(&url).await, "d").await.len(), 8);
}

pub async fn reopened_it_has_everything(url: String) {
    let store = open(&url).await;
    store.ping().await.unwrap();
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1)])).await.unwrap();
    store.close().await;
    assert!(store.ping().await.is_err());
    let closed = store.commit(&lease, &batch_of("d", &[id(1, 0)])).await;
    assert!(matches!(closed, Err(CommitError::Unavailable { .. })), "{closed:?}");
    let store = open(&url).await;
    assert_eq!(messages(&store, "d").await, ["message 1", "message 0"]);
    assert_eq!(store.committed(&[id(0, 0), id(1, 0)]).await.unwrap().len(), 1);
    store.commit(&lease, &batch_of("d", &[id(1, 0)])).await.unwrap();
}

pub async fn tokens_are_kept_until_they_are_revoked(url: String) {
    let store = open(&url).await;
    let plain = Token {
        id: "a1".to_owned(),
        digest: [7; 32],
        role: Role::Ingest,
        note: "gateway 'ü'".to_owned(),
        devices: None,
        rate: None,
        created_at: now(),
        expires_at: None,
    };
    let limited = Token {
        id: "a2".to_owned(),
        role: Role::Admin,
        devices: Some("sensor-*".to_owned()),
        rate: Some(100),
        created_at: at(1),
        expires_at: Some(at(DAY)),
        ..plain.clone()
    };
    assert!(store.tokens().await.unwrap().is_empty());
    store.add_token(&limited).await.unwrap();
    store.add_token(&plain).await.unwrap();
    assert!(store.add_token(&plain).await.is_err(), "an id was taken twice");
    assert_eq!(open(&url).await.tokens().await.unwrap(), [plain, limited.clone()]);
    assert_eq!(store.revoke_token("a1").await.unwrap(), Revoked::Now);
    assert_eq!(store.revoke_token("a1").await.unwrap(), Revoked::Unknown);
    assert_eq!(store.tokens().await.unwrap(), [limited]);
}
