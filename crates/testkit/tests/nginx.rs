//! The project's nginx.conf under a real nginx: what it refuses, and whom it asks again.
//!
//! The hosts here are a few lines that count what reaches them, because the question is what nginx sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sawpit_testkit::{Nginx, free_port, workspace_root};

fn template() -> String {
    fs::read_to_string(workspace_root().join("nginx/nginx.conf")).unwrap()
}

/// How a host of the test treats each request, once it has read all of it.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answer,
    Hangup,
    Overloaded,
    /// Reads, and says nothing.
    Freeze,
}

struct Host {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Host {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || serve(&stream, manner, &count));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: &TcpStream, manner: Manner, count: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader) {
        let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
        reader.read_exact(&mut vec![0; length]).unwrap();
        count.fetch_add(1, Ordering::SeqCst);
        let status = match manner {
            Manner::Answer => "200 OK",
            Manner::Overloaded => "503 Service Unavailable",
            Manner::Hangup => return,
            Manner::Freeze => continue,
        };
        let id = header(&head, "x-request-id").unwrap_or_default();
        let connection = header(&head, "connection").unwrap_or_default();
        let body = format!("id={id} connection={connection}");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .into_iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn ask(nginx: &Nginx, method: &str, extra: &str, body: &str) -> Answer {
    ask_declaring(nginx, &format!("{method} /api/log"), extra, body.len(), body)
}

/// Declares a body of `length` bytes but sends `body`.
fn ask_declaring(nginx: &Nginx, line: &str, extra: &str, length: usize, body: &str) -> Answer {
    ask_raw(nginx, &format!("{line} HTTP/1.1\r\nHost: t\r\n{extra}Content-Length: {length}\r\n\r\n{body}"))
}

/// Sends these bytes, whatever they are.
fn ask_raw(nginx: &Nginx, bytes: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut reader = BufReader::new(&stream);
    let head = read_head(&mut reader).unwrap();
    let mut body = vec![0; header(&head, "content-length").unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: String::from_utf8(body).unwrap() }
}

#[track_caller]
fn check_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(header(&answer.head, "content-type").unwrap(), "application/problem+json");
    assert!(answer.body.contains(&format!("\"type\":\"urn:sawpit:problem:{kind}\"")), "{}", answer.body);
    assert!(answer.body.contains(&format!("\"status\":{status}")), "{}", answer.body);
    assert!(header(&answer.head, "x-request-id").is_some());
}

#[test]
fn spreads_requests_over_both_hosts_on_kept_connections() {
    let hosts = [Host::start(Manner::Answer), Host::start(Manner::Answer)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    for _ in 0..20 {
        let answer = ask(&nginx, "POST", "", "{}");
        assert_eq!(answer.status, 200);
        assert!(answer.body.ends_with("connection="), "{}", answer.body);
    }
    assert!(hosts.iter().all(|host| host.requests() > 0));
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 20);
}

#[test]
fn a_post_goes_to_the_other_host_when_the_first_refuses_the_connection() {
    let host = Host::start(Manner::Answer);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let nginx = Nginx::start(&template(), &[nobody, host.address]);
    for _ in 0..20 {
        assert_eq!(ask(&nginx, "POST", "", "{}").status, 200);
    }
    assert_eq!(host.requests(), 20);
}

#[test]
fn a_post_that_a_host_may_have_taken_is_never_repeated() {
    let hosts = [Host::start(Manner::Hangup), Host::start(Manner::Hangup)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    let answer = ask(&nginx, "POST", "", "{}");
    check_problem(&answer, 502, "maybe-queued");
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 1);
}

#[test]
fn a_get_is_repeated_on_the_other_host() {
    let hosts = [Host::start(Manner::Hangup), Host::start(Manner::Hangup)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    check_problem(&ask(&nginx, "GET", "", ""), 502, "no-answer");
    assert_eq!([hosts[0].requests(), hosts[1].requests()], [1, 1]);
}

/// The project's file, with a second's wait for a host's answer in place of 30, and others asked for ten.
fn hasty() -> String {
    let full = template();
    let times = [
        ("proxy_read_timeout 30s", "proxy_read_timeout 1s"),
        ("next_upstream_timeout 40s", "next_upstream_timeout 10s"),
    ];
    times.iter().fold(full, |text, (slow, fast)| {
        assert!(text.contains(slow), "nginx.conf has no {slow:?}");
        text.replace(slow, fast)
    })
}

#[test]
fn a_get_goes_on_from_a_frozen_host_to_the_other() {
    let (frozen, host) = (Host::start(Manner::Freeze), Host::start(Manner::Answer));
    let nginx = Nginx::start(&hasty(), &[frozen.address, host.address]);
    for _ in 0..4 {
        assert_eq!(ask(&nginx, "GET", "", "").status, 200);
    }
    assert!(frozen.requests() > 0);
    assert_eq!(host.requests(), 4);
}

#[test]
fn a_post_that_no_host_answers_in_time_is_not_repeated() {
    let hosts = [Host::start(Manner::Freeze), Host::start(Manner::Freeze)];
    let nginx = Nginx::start(&hasty(), &[hosts[0].address, hosts[1].address]);
    check_problem(&ask(&nginx, "POST", "", "{}"), 504, "maybe-queued");
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 1);
    check_problem(&ask(&nginx, "GET", "", ""), 504, "no-answer");
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 3);
}

#[test]
fn an_overloaded_host_answers_for_itself_and_is_not_rested() {
    let hosts = [Host::start(Manner::Overloaded), Host::start(Manner::Overloaded)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    for _ in 0..20 {
        let answer = ask(&nginx, "POST", "", "{}");
        assert_eq!(answer.status, 503);
        assert!(answer.body.starts_with("id="), "the host's own body passes: {}", answer.body);
    }
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 20);
}

#[test]
fn a_body_at_the_limit_passes_and_one_byte_more_is_refused() {
    let hosts = [Host::start(Manner::Answer), Host::start(Manner::Answer)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    let limit = 8 * 1024 * 1024;
    assert_eq!(ask(&nginx, "POST", "", &"x".repeat(limit)).status, 200);
    // Nothing of it is sent: nginx refuses by the length declared, and a reset could swallow its answer.
    let answer = ask_declaring(&nginx, "POST /api/log", "", limit + 1, "");
    check_problem(&answer, 413, "body-too-large");
}

#[test]
fn requests_over_the_rate_are_answered_429() {
    let hosts = [Host::start(Manner::Answer), Host::start(Manner::Answer)];
    let full = template();
    assert!(full.contains("rate=10000r/s") && full.contains("burst=2000 nodelay"));
    // The same limit, low enough to be reached by a test.
    let low = full.replace("rate=10000r/s", "rate=1r/m").replace("burst=2000", "burst=4");
    let nginx = Nginx::start(&low, &[hosts[0].address, hosts[1].address]);
    for _ in 0..5 {
        assert_eq!(ask(&nginx, "POST", "", "{}").status, 200);
    }
    let answer = ask(&nginx, "POST", "", "{}");
    check_problem(&answer, 429, "too-many-requests");
    assert_eq!(header(&answer.head, "retry-after").unwrap(), "1");
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 5);
}

#[test]
fn a_request_id_is_passed_on_or_made() {
    let hosts = [Host::start(Manner::Answer), Host::start(Manner::Answer)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    let given = ask(&nginx, "GET", "X-Request-Id: abc-123\r\n", "");
    assert!(given.body.starts_with("id=abc-123 "), "{}", given.body);
    let long = format!("X-Request-Id: {}\r\n", "a".repeat(129));
    for extra in ["", &long] {
        let made = ask(&nginx, "GET", extra, "");
        let id = made.body.trim_start_matches("id=").split(' ').next().unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", made.body);
    }
}

#[test]
fn broken_requests_are_answered_in_the_hosts_shape() {
    let hosts = [Host::start(Manner::Answer), Host::start(Manner::Answer)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    let long = format!("X-Long: {}\r\n", "a".repeat(9000));
    check_problem(&ask(&nginx, "GET", &long, ""), 400, "bad-request");
    // Some before there is a path, so that none can be looked up for the answer.
    let host = "Host: t\r\n\r\n";
    let asked = [
        ("GARBAGE\r\n\r\n".to_owned(), 400, "bad-request"),
        (format!("GET /%ff%zz HTTP/1.1\r\n{host}"), 400, "bad-request"),
        (format!("GET /../../etc/passwd HTTP/1.1\r\n{host}"), 400, "bad-request"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad-request"),
        (format!("GET /api/logs?q={} HTTP/1.1\r\n{host}", "x".repeat(9000)), 414, "bad-path"),
        (format!("TRACE /api/log HTTP/1.1\r\n{host}"), 405, "wrong-method"),
        (format!("POST /api/log HTTP/1.1\r\nTransfer-Encoding: gzip\r\n{host}"), 501, "bad-request"),
        (format!("GET / HTTP/3.0\r\n{host}"), 505, "bad-request"),
        (format!("GET /nginx/bad-request HTTP/1.1\r\n{host}"), 404, "unknown-route"),
    ];
    for (bytes, status, kind) in &asked {
        check_problem(&ask_raw(&nginx, bytes), *status, kind);
    }
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 0);
    assert!(!nginx.output().contains("empty URI"), "{}", nginx.output());
}

#[test]
fn what_is_for_operators_is_not_handed_out() {
    let hosts = [Host::start(Manner::Answer), Host::start(Manner::Answer)];
    let nginx = Nginx::start(&template(), &[hosts[0].address, hosts[1].address]);
    for path in [
        "/metrics",
        "//metrics",
        "/%6Detrics",
        "/metrics?x=1",
        "/api/../metrics",
        "/api/plugins",
        "/api//plugins",
        "/api/plugins/x.wasm/differences",
    ] {
        check_problem(&ask_declaring(&nginx, &format!("GET {path}"), "", 0, ""), 404, "unknown-route");
    }
    assert_eq!(hosts[0].requests() + hosts[1].requests(), 0);
    for path in ["/health/live", "/api/logs/metrics", "/api/stats", "/docs/", "/openapi.json"] {
        assert_eq!(ask_declaring(&nginx, &format!("GET {path}"), "", 0, "").status, 200, "{path}");
    }
}

#[test]
fn nginx_comes_back_after_a_kill_and_a_pause() {
    let host = Host::start(Manner::Answer);
    let nginx = Nginx::start(&template(), &[host.address, host.address]);
    nginx.kill();
    assert!(TcpStream::connect(("127.0.0.1", nginx.port())).is_err());
    nginx.restart();
    nginx.pause();
    // The kernel takes the connection; nobody reads from it.
    let mut held = TcpStream::connect(("127.0.0.1", nginx.port())).unwrap();
    held.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    held.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    assert!(held.read_exact(&mut answer).is_err());
    nginx.resume();
    held.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    held.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    nginx.stop();
    assert!(TcpStream::connect(("127.0.0.1", nginx.port())).is_err());
}
