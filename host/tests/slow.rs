//! Slow clients of every kind cannot hold the host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{Hosted, host_with};
use sawpit_host::{HostSettings, ServeSettings, serve};
use sawpit_model::Level;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const LOG: &str = r#"{"device_id":"d","log_level":"info","message":"m"}"#;
const SLOW: usize = 200;
/// Answers that a client asks for which takes none.
const ASKED: usize = 1_000;
/// How long each client that dawdles is borne.
const LIMIT: Duration = Duration::from_millis(1_500);

async fn served(connections: usize) -> (Hosted, SocketAddr) {
    let host = host_with(HostSettings { body_timeout: LIMIT, ..HostSettings::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = ServeSettings {
        header_timeout: LIMIT,
        idle_timeout: LIMIT,
        answer_timeout: LIMIT,
        connections,
        ..ServeSettings::default()
    };
    tokio::spawn(serve(listener, host.router.clone(), settings, std::future::pending()));
    (host, address)
}

/// Sends `begun` at once and then `drop` after `drop`, reading nothing, until the server has had enough.
async fn dawdle(address: SocketAddr, begun: String, drop: &'static str) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    if stream.write_all(begun.as_bytes()).await.is_err() {
        return began.elapsed();
    }
    let mut byte = [0; 1];
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if stream.write_all(drop.as_bytes()).await.is_err() {
            return began.elapsed();
        } else if let Ok(Ok(0) | Err(_)) =
            tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte)).await
        {
            return began.elapsed();
        }
    }
}

/// Asks for much, and takes it when it is too late: there is no more than what was under way when the server had enough.
async fn take_late(address: SocketAddr) -> Duration {
    let ask = "GET /api/logs/big?limit=1000 HTTP/1.1\r\nHost: h\r\n\r\n".repeat(ASKED);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    if stream.write_all(ask.as_bytes()).await.is_err() {
        return began.elapsed();
    }
    tokio::time::sleep(LIMIT * 4).await;
    let (mut taken, mut some) = (0, vec![0; 1 << 16]);
    while let Ok(read @ 1..) = stream.read(&mut some).await {
        taken += read;
        // A row is longer than 100 bytes, and an answer has 1,000.
        assert!(taken < ASKED * 100_000, "it was not cut, and got all that it asked for");
    }
    began.elapsed()
}

/// Heads and bodies that come a byte at a time, and answers that nobody takes.
fn slow_clients(address: SocketAddr, count: usize) -> JoinSet<Duration> {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let head = "POST /api/log HTTP/1.1\r\nHost: h\r\n".to_owned();
        let body = format!("{head}Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{{");
        match number % 3 {
            0 => clients.spawn(dawdle(address, head, "X")),
            1 => clients.spawn(dawdle(address, body, " ")),
            _ => clients.spawn(take_late(address)),
        };
    }
    clients
}

async fn post(address: SocketAddr) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /api/log HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{LOG}",
        LOG.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_slow_clients_delay_nobody_and_are_cut() {
    let (host, address) = served(SLOW + 20).await;
    host.store_rows("big", 1..=1_000, Level::Info).await;
    let mut clients = slow_clients(address, SLOW);
    let began = Instant::now();
    let mut posts = 0;
    while began.elapsed() < LIMIT * 2 {
        let took = post(address).await;
        assert!(took < Duration::from_secs(5), "a post took {took:?}");
        posts += 1;
    }
    assert!(posts > 20, "{posts} posts in {:?}", began.elapsed());
    while let Some(borne) = clients.join_next().await {
        let borne = borne.unwrap();
        assert!(borne < LIMIT * 10, "a client was borne for {borne:?}");
    }
}

/// They take every connection there may be: the next one waits, but no longer than they are borne.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_all_connections_are_cut_and_others_served() {
    let (host, address) = served(SLOW).await;
    host.store_rows("big", 1..=1_000, Level::Info).await;
    let mut clients = slow_clients(address, SLOW);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let took = post(address).await;
    assert!(took < LIMIT * 5, "a post took {took:?}");
    clients.shutdown().await;
}

/// A connection that closes while a client sends resets it, and the client may never read the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_in_the_middle_of_a_body_hears_why() {
    let (host, address) = served(20).await;
    for _ in 0..10 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = 6 << 20;
        let head = format!("POST /api/log HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; length]).await.expect("it is let finish");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("it hears why");
        assert_eq!(&answer, b"HTTP/1.1 415");
    }
    drop(host);
}
