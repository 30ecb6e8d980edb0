//! Connections over real sockets: drain, dawdling clients, HTTP/2, limits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, Version};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sawpit_host::{Drained, ServeSettings, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    end: JoinHandle<Drained>,
}

/// More than all buffers between server and client hold.
const BIG: usize = 64 << 20;

/// `/slow` answers after 300 ms, `/stuck` never, `/` at once, `/big` a lot.
async fn start(settings: ServeSettings) -> Served {
    let router = Router::new()
        .route("/", get(|| async { "quick" }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        )
        .route("/big", get(|| async { "x".repeat(BIG) }))
        .route("/stuck", get(std::future::pending::<&'static str>));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let end = tokio::spawn(serve(listener, router, settings, async move {
        let _ = stopped.await;
    }));
    Served { address, stop, end }
}

async fn connect(served: &Served, send: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(send.as_bytes()).await.unwrap();
    stream
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _cut = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn draining_answers_what_is_in_flight_and_closes_idle_connections() {
    let served = start(ServeSettings::default()).await;
    let mut idle = connect(&served, &request("/")).await;
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    let silent = TcpStream::connect(served.address).await.unwrap();
    let mut slow = connect(&served, &request("/slow")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.stop.send(()).unwrap();
    let answer = rest(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("slow"), "{answer}");
    assert!(rest(&mut idle).await.ends_with("quick"));
    assert_eq!(served.end.await.unwrap(), Drained::Clean);
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is closed");
    drop(silent);
}

/// A proxy sends into a connection that it keeps before it knows that this server stops.
#[tokio::test]
async fn what_comes_over_open_connections_during_the_grace_is_answered_and_closes_them() {
    let grace = Duration::from_secs(5);
    let served = start(ServeSettings { drain_grace: grace, ..ServeSettings::default() }).await;
    let mut kept = connect(&served, &request("/")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    served.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is closed at once");
    kept.write_all(request("/").as_bytes()).await.unwrap();
    let both = rest(&mut kept).await;
    assert_eq!(both.matches("quick").count(), 2, "{both}");
    assert_eq!(both.matches("connection: close").count(), 1, "{both}");
    assert_eq!(served.end.await.unwrap(), Drained::Clean);
    assert!(began.elapsed() < grace, "nobody is waited for any more");
}

/// Connections that the kernel made and nobody accepted yet are served, not reset.
#[tokio::test]
async fn those_that_wait_to_be_accepted_are_served() {
    let served = start(ServeSettings { connections: 1, ..ServeSettings::default() }).await;
    let mut slow = connect(&served, &request("/slow")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut waiting = connect(&served, &request("/")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.stop.send(()).unwrap();
    assert!(rest(&mut waiting).await.ends_with("quick"));
    assert!(rest(&mut slow).await.ends_with("slow"));
    assert_eq!(served.end.await.unwrap(), Drained::Clean);
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let served =
        start(ServeSettings { drain_timeout: Duration::from_millis(100), ..ServeSettings::default() }).await;
    let mut stuck = connect(&served, &request("/stuck")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.stop.send(()).unwrap();
    assert_eq!(served.end.await.unwrap(), Drained::Cut { connections: 1 });
    assert_eq!(rest(&mut stuck).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_cut() {
    let limit = Duration::from_millis(150);
    let served = start(ServeSettings { header_timeout: limit, ..ServeSettings::default() }).await;
    // Silent; undecided between versions of HTTP; within a head; silent after the preface of HTTP/2.
    for begun in ["", "PRI * HT", "GET / HTTP/1.1\r\nHost:", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let began = Instant::now();
        let mut stream = connect(&served, begun).await;
        tokio::time::timeout(Duration::from_secs(5), rest(&mut stream)).await.expect("cut");
        assert!(
            began.elapsed() >= limit - Duration::from_millis(20),
            "{begun:?} after {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn a_client_within_the_header_time_is_answered() {
    let served =
        start(ServeSettings { header_timeout: Duration::from_secs(2), ..ServeSettings::default() }).await;
    let mut stream = connect(&served, "GET / HTTP/1.1\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(b"Host: h\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.ends_with("quick"));
}

#[tokio::test]
async fn a_request_may_take_longer_than_its_head() {
    let limit = Duration::from_millis(100);
    let settings = ServeSettings { header_timeout: limit, idle_timeout: limit, ..ServeSettings::default() };
    let served = start(settings).await;
    let mut stream = connect(&served, &request("/slow")).await;
    assert!(rest(&mut stream).await.contains("slow"));
}

/// A kept connection may idle longer than a head may take, and a head on it may not.
#[tokio::test]
async fn a_kept_connection_may_idle_and_must_not_dawdle() {
    let (head, idle) = (Duration::from_millis(150), Duration::from_millis(900));
    let served =
        start(ServeSettings { header_timeout: head, idle_timeout: idle, ..ServeSettings::default() }).await;
    let mut kept = connect(&served, &request("/")).await;
    tokio::time::sleep(head * 3).await;
    kept.write_all(request("/").as_bytes()).await.unwrap();
    let asked = Instant::now();
    let both = rest(&mut kept).await;
    assert_eq!(both.matches("quick").count(), 2, "{both}");
    assert!(asked.elapsed() >= idle - Duration::from_millis(50), "closed after {:?}", asked.elapsed());

    let mut dawdles = connect(&served, &request("/")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    dawdles.write_all(b"GET / HT").await.unwrap();
    assert_eq!(rest(&mut dawdles).await.matches("quick").count(), 1);
    assert!(began.elapsed() < idle, "cut after {:?}", began.elapsed());
}

/// Whether the one connection that the server takes is free.
async fn is_free(served: &Served) -> bool {
    let mut other = connect(served, &request("/")).await;
    let mut byte = [0; 1];
    tokio::time::timeout(Duration::from_millis(300), other.read(&mut byte))
        .await
        .is_ok_and(|read| read.is_ok())
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let limit = Duration::from_millis(700);
    let settings = ServeSettings { answer_timeout: limit, connections: 1, ..ServeSettings::default() };
    let served = start(settings).await;
    let stuck = connect(&served, &request("/big")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!is_free(&served).await, "the answer does not fit into the buffers");
    tokio::time::sleep(limit * 2).await;
    assert!(is_free(&served).await, "it holds the connection still");
    drop(stuck);
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let limit = Duration::from_millis(700);
    let served = start(ServeSettings { answer_timeout: limit, ..ServeSettings::default() }).await;
    let mut slow = connect(&served, "GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let (mut chunk, mut bytes, began) = (vec![0; BIG / 8], 0, Instant::now());
    loop {
        let mut filled = 0;
        while filled < chunk.len() {
            match slow.read(&mut chunk[filled..]).await.unwrap() {
                0 => break,
                read => filled += read,
            }
        }
        bytes += filled;
        if filled < chunk.len() {
            break;
        }
        tokio::time::sleep(limit / 4).await;
    }
    assert!(bytes > BIG, "only {bytes} bytes came");
    assert!(began.elapsed() > limit, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_http2_client_that_takes_nothing_or_asks_nothing_is_cut() {
    let limit = Duration::from_millis(500);
    let settings = ServeSettings { answer_timeout: limit, idle_timeout: limit, ..ServeSettings::default() };
    let served = start(settings).await;
    for path in ["/big", "/"] {
        let stream = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get(format!("http://{}{path}", served.address)).body(Body::empty()).unwrap();
        // The body is not read, so that the window of the stream fills.
        let answer = client.send_request(request).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), connection).await.expect("cut").unwrap().ok();
        drop(answer);
    }
}

#[tokio::test]
async fn connections_are_limited_and_the_next_one_waits() {
    let served = start(ServeSettings { connections: 1, ..ServeSettings::default() }).await;
    let first = connect(&served, &request("/stuck")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut second = connect(&served, &request("/")).await;
    let mut byte = [0; 1];
    let waits = tokio::time::timeout(Duration::from_millis(200), second.read(&mut byte)).await;
    assert!(waits.is_err(), "answered beyond the limit");
    drop(first);
    tokio::time::timeout(Duration::from_secs(5), second.read(&mut byte)).await.expect("its turn").unwrap();
    assert_eq!(&byte, b"H");
}

#[tokio::test]
async fn http2_without_tls_is_served() {
    let served = start(ServeSettings::default()).await;
    let stream = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{}/", served.address)).body(Body::empty()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "quick");
}

#[tokio::test]
async fn as_many_requests_as_are_allowed_share_an_http2_connection_and_the_next_one_waits() {
    let served = start(ServeSettings { http2_streams: 2, ..ServeSettings::default() }).await;
    let stream = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str| {
        let (mut sender, uri) = (sender.clone(), format!("http://h{path}"));
        tokio::spawn(async move {
            sender.send_request(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap().status()
        })
    };
    // What it is allowed comes with the first answer at the latest.
    assert_eq!(ask("/").await.unwrap(), StatusCode::OK);
    let both = [ask("/stuck"), ask("/stuck")];
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut third = ask("/");
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut third).await.is_err(), "it does not wait");
    both[0].abort();
    let answered = tokio::time::timeout(Duration::from_secs(20), third).await;
    assert_eq!(answered.expect("there is room").unwrap(), StatusCode::OK);
}

/// A frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The next frame's kind, stream and payload.
async fn next_frame(stream: &mut TcpStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
}

#[tokio::test]
async fn an_http2_client_that_asks_more_than_it_is_allowed_at_once_is_refused() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let (headers, rst_stream, settings) = (1, 3, 4);
    let served = start(ServeSettings { http2_streams: 2, ..ServeSettings::default() }).await;
    let mut stream = connect(&served, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // GET, http, the path and the authority (RFC 7541): the request is whole with its head.
    let asked = [&[0x82, 0x86, 0x04, 6][..], b"/stuck", &[0x01, 1], b"h"].concat();
    let requests = [1, 3, 5].map(|id| frame(headers, 0x4 | 0x1, id, &asked)).concat();
    stream.write_all(&[frame(settings, 0, 0, &[]), requests].concat()).await.unwrap();
    let refused = async {
        loop {
            let (kind, id, payload) = next_frame(&mut stream).await;
            if kind == rst_stream {
                return (id, payload);
            }
        }
    };
    let (id, payload) = tokio::time::timeout(Duration::from_secs(20), refused).await.expect("a refusal");
    assert_eq!((id, payload.as_slice()), (5, &REFUSED_STREAM[..]));
}
