//! TLS over real sockets, and a certificate that is replaced meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, Version};
use axum::routing::get;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use sawpit_host::{ServeSettings, Tls, TlsError, TlsFiles, serve};
use sawpit_testkit::TempFolder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const SOON: Duration = Duration::from_secs(20);

/// A new certificate for `localhost` in these files.
fn make(files: &TlsFiles) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn files(folder: &TempFolder) -> TlsFiles {
    TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") }
}

async fn start(tls: Tls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = ServeSettings {
        tls: Some(tls),
        header_timeout: Duration::from_millis(500),
        ..ServeSettings::default()
    };
    let router = Router::new().route("/", get(|| async { "hello" }));
    tokio::spawn(serve(listener, router, settings, std::future::pending()));
    address
}

/// A connection of a client that trusts this certificate only.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn ask(stream: TlsStream<TcpStream>) -> Response<Incoming> {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = Request::get("https://localhost/").header("host", "localhost").body(Body::empty()).unwrap();
    if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        return sender.send_request(request).await.unwrap();
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn http_1_and_2_are_answered_over_tls() {
    let folder = TempFolder::new("tls");
    let certificate = make(&files(&folder));
    let address = start(Tls::open(files(&folder)).unwrap()).await;
    for (protocol, version) in [(&b"http/1.1"[..], Version::HTTP_11), (b"h2", Version::HTTP_2)] {
        let answer = ask(connect(address, &certificate, protocol).await.unwrap()).await;
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    }
}

#[tokio::test]
async fn a_replaced_certificate_serves_and_a_broken_one_does_not() {
    let folder = TempFolder::new("tls");
    let first = make(&files(&folder));
    let address = start(Tls::open(files(&folder)).unwrap()).await;
    let mut open = connect(address, &first, b"http/1.1").await.unwrap();
    std::fs::write(folder.join("key.pem"), "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(
        ask(connect(address, &first, b"h2").await.unwrap()).await.status(),
        200,
        "the one before serves"
    );
    let second = make(&files(&folder));
    let until = Instant::now() + SOON;
    while connect(address, &second, b"h2").await.is_err() {
        assert!(Instant::now() < until, "the new certificate does not serve");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    connect(address, &first, b"h2").await.unwrap_err();
    let (mut text, request) =
        (String::new(), "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    // The open connection has idled longer than a head may take; either it is answered or it was cut for that.
    if open.write_all(request.as_bytes()).await.is_ok() && open.read_to_string(&mut text).await.is_ok() {
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

#[tokio::test]
async fn who_dawdles_in_the_handshake_or_speaks_no_tls_is_cut() {
    let folder = TempFolder::new("tls");
    let certificate = make(&files(&folder));
    let address = start(Tls::open(files(&folder)).unwrap()).await;
    let mut dawdler = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    for (who, stream) in [("dawdler", &mut dawdler), ("plain", &mut plain)] {
        let end = tokio::time::timeout(SOON, stream.read_to_end(&mut text)).await;
        assert!(end.is_ok(), "{who} is not cut");
    }
    assert!(!String::from_utf8_lossy(&text).contains("hello"));
    assert_eq!(ask(connect(address, &certificate, b"h2").await.unwrap()).await.status(), 200);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = TempFolder::new("tls");
    let good = files(&folder);
    make(&good);
    let other = TlsFiles { certificate: folder.join("other.pem"), key: folder.join("other-key.pem") };
    make(&other);
    let empty = folder.join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let open = |certificate: &Path, key: &Path| {
        let files = TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() };
        Tls::open(files).unwrap_err()
    };
    assert!(matches!(open(&folder.join("none"), &good.key), TlsError::Certificate { .. }));
    assert!(matches!(open(&empty, &good.key), TlsError::Certificate { .. }));
    assert!(matches!(open(&good.key, &good.key), TlsError::Certificate { .. }));
    assert!(matches!(open(&good.certificate, &empty), TlsError::Key { .. }));
    assert!(matches!(open(&good.certificate, &good.certificate), TlsError::Key { .. }));
    let mismatch = open(&good.certificate, &other.key);
    assert!(
        matches!(mismatch, TlsError::Pair { .. }) && mismatch.to_string().contains("other-key.pem"),
        "{mismatch}"
    );
}
