//! Connections: accepted within a limit, cut when they dawdle, drained at the end.
//!
//! A drain must not fail a request of a proxy that keeps connections: closing one at the moment when the proxy sends into
//! it resets it, and a POST cannot be sent again. So the listener closes first, which the proxy notices by a refused
//! connection and goes elsewhere; what arrives over open connections meanwhile is answered, and the answer closes the
//! connection; only after a while are the idle ones closed.
//!
//! `axum::serve` has no time-outs, so the loop is our own, over hyper-util's connection builder: HTTP/1.1 and HTTP/2
//! with prior knowledge on one port.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, STRICT_TRANSPORT_SECURITY};
use axum::http::{HeaderValue, Request, Version};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::pace::{Pace, PaceLimits, Paced, guard};
use crate::settings::ServeSettings;
use crate::tls::Tls;

/// Who came by TLS once comes so for a year (RFC 6797).
const STAY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// How the serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight was answered.
    Clean,
    /// The deadline passed with so many connections still open; they were cut.
    Cut {
        /// Connections that were open at the deadline.
        connections: usize,
    },
}

/// Serves until `shutdown` resolves, then stops accepting, answers what is in flight and what still comes over open
/// connections for [`ServeSettings::drain_grace`], and returns, at the latest after [`ServeSettings::drain_timeout`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServeSettings,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let server = Server::new(router, &settings);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = server.accept(&listener) => {
                connections.spawn(server.connection(stream, permit, graceful.watcher()));
            }
        }
    }
    server.draining.store(true, Ordering::Relaxed);
    for stream in those_waiting(listener) {
        let permit = Arc::clone(&server.slots).try_acquire_owned().ok();
        connections.spawn(server.connection(stream, permit, graceful.watcher()));
    }
    drain(graceful, connections, &settings).await
}

/// Closes the listener, but for the connections that are made already: closing would reset them.
fn those_waiting(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accept = || {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    };
    std::iter::from_fn(accept).collect()
}

async fn drain(
    graceful: GracefulShutdown,
    mut connections: JoinSet<()>,
    settings: &ServeSettings,
) -> Drained {
    tracing::info!(connections = connections.len(), "draining");
    let all = async {
        let closed = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(settings.drain_grace, closed).await;
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    match tokio::time::timeout(settings.drain_timeout, all).await {
        Ok(()) => Drained::Clean,
        // Dropping the set cuts them.
        Err(_) => Drained::Cut { connections: connections.len() },
    }
}

struct Server {
    router: Router,
    builder: Builder<TokioExecutor>,
    slots: Arc<Semaphore>,
    limits: PaceLimits,
    draining: Arc<AtomicBool>,
    tls: Option<Tls>,
}

impl Server {
    fn new(router: Router, settings: &ServeSettings) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // The guard of the connection keeps the time.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.http2_streams)
            .keep_alive_interval(settings.idle_timeout)
            .keep_alive_timeout(settings.header_timeout);
        if let Some(tls) = &settings.tls {
            tls.follow();
        }
        Self {
            router,
            builder,
            tls: settings.tls.clone(),
            slots: Arc::new(Semaphore::new(settings.connections)),
            draining: Arc::new(AtomicBool::new(false)),
            limits: PaceLimits {
                head: settings.header_timeout,
                idle: settings.idle_timeout,
                answer: settings.answer_timeout,
            },
        }
    }

    /// The next connection, once there is a slot for it.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                // Of the process (no file descriptors left) or of one connection that is gone already; both pass.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// The life of one connection.
    fn connection(
        &self,
        stream: TcpStream,
        permit: Option<OwnedSemaphorePermit>,
        watcher: Watcher,
    ) -> impl Future<Output = ()> + use<> {
        let talk = Talk {
            router: self.router.clone(),
            builder: self.builder.clone(),
            limits: self.limits,
            draining: Arc::clone(&self.draining),
            scheme: if self.tls.is_some() { Scheme::Https } else { Scheme::Http },
        };
        let tls = self.tls.clone();
        async move {
            let _slot = permit;
            // Answers are written whole, so there is nothing to wait for.
            let _ = stream.set_nodelay(true);
            match tls {
                None => talk.run(stream, watcher).await,
                Some(tls) => {
                    if let Some(stream) = shaken(&tls, stream, talk.limits.head).await {
                        talk.run(stream, watcher).await;
                    }
                }
            }
        }
    }
}

/// The stream after the TLS handshake, which must be over in time; none when it failed.
async fn shaken(tls: &Tls, stream: TcpStream, limit: Duration) -> Option<TlsStream<TcpStream>> {
    let reason = match tokio::time::timeout(limit, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            "failed"
        }
        Err(_) => "header_timeout",
    };
    metrics::counter!("sawpit_tls_handshake_errors_total", "reason" => reason).increment(1);
    None
}

/// How clients came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// What one connection needs.
struct Talk {
    router: Router,
    builder: Builder<TokioExecutor>,
    limits: PaceLimits,
    draining: Arc<AtomicBool>,
    scheme: Scheme,
}

impl Talk {
    /// Answers requests until either side closes.
    async fn run<S>(self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pace = Pace::new();
        let stream = Paced::new(stream, Arc::clone(&pace));
        let service = watched(self.router, Arc::clone(&pace), self.draining, self.scheme);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        match guard(watcher.watch(connection), &pace, &self.limits).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error, "connection ended early"),
            Err(slow) => {
                metrics::counter!("sawpit_http_cut_total", "limit" => slow.name()).increment(1);
                tracing::debug!(limit = slow.name(), "connection cut: the client is too slow");
            }
        }
    }
}

/// The routes, noting when a request's head is there and when its answer is taken.
fn watched(
    router: Router,
    pace: Arc<Pace>,
    draining: Arc<AtomicBool>,
    scheme: Scheme,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let http2 = request.version() == Version::HTTP_2;
        let (active, draining) = (pace.request(http2), Arc::clone(&draining));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let mut answer = answer.await?.map(|body| active.answering(body));
            // HTTP/2 has a frame for that, which the shutdown sends.
            if !http2 && draining.load(Ordering::Relaxed) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if scheme == Scheme::Https {
                answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, STAY);
            }
            Ok(answer)
        }
    })
}
