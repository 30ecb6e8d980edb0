//! How long a connection may be a client's turn: to send a head, to ask again, to take what it asked for.
//!
//! hyper knows one of these times, and mixes it with another: the time for a head counts while a kept-alive connection
//! idles, so it must be long, and who sends a head byte by byte has as long. So the connection's stream and service note
//! here whose turn it is, and [`guard`] ends a connection whose client takes too long. While a request is worked on it is
//! our turn, and the routes have their own limits (body, answer).

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaceLimits {
    /// From its first byte to the end of a request's head; for the first head, from the connection's start.
    pub(crate) head: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// Without taking any of an answer.
    pub(crate) answer: Duration,
}

/// Which limit a client broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    Head,
    Idle,
    Answer,
}

impl Slow {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Head => "header_timeout",
            Self::Idle => "idle_timeout",
            Self::Answer => "answer_timeout",
        }
    }
}

/// Whose turn it is on one connection.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    /// While no request is worked on or answered.
    owes: Owes,
    /// Requests that are worked on or answered.
    active: usize,
    /// There the bytes between requests are no part of a head.
    http2: bool,
    /// Since when the socket takes nothing.
    stuck: Option<Instant>,
    /// Since when the client takes nothing of an answer, by the answer's number (HTTP/2 has several at once).
    untaken: BTreeMap<u64, Instant>,
    next_answer: u64,
}

#[derive(Clone, Copy, Debug)]
enum Owes {
    /// The rest of a head, since then.
    Head(Instant),
    /// Nothing, since then.
    Nothing(Instant),
}

impl Pace {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            owes: Owes::Head(Instant::now()),
            active: 0,
            http2: false,
            stuck: None,
            untaken: BTreeMap::new(),
            next_answer: 0,
        })))
    }

    /// A whole head arrived.
    pub(crate) fn request(self: &Arc<Self>, http2: bool) -> Active {
        let mut state = self.state();
        state.active += 1;
        state.http2 = http2;
        Active { pace: Arc::clone(self), answer: None }
    }

    fn arrived(&self) {
        let mut state = self.state();
        if let (0, false, Owes::Nothing(_)) = (state.active, state.http2, state.owes) {
            state.owes = Owes::Head(Instant::now());
        }
    }

    /// When the client is too late, and with what, if nothing happens before.
    fn due(&self, limits: &PaceLimits) -> Option<(Instant, Slow)> {
        let state = self.state();
        let turn = match (state.active, state.owes) {
            (0, Owes::Head(since)) => Some((since + limits.head, Slow::Head)),
            (0, Owes::Nothing(since)) => Some((since + limits.idle, Slow::Idle)),
            _ => None,
        };
        let untaken = state.stuck.into_iter().chain(state.untaken.values().copied()).min();
        let untaken = untaken.map(|since| (since + limits.answer, Slow::Answer));
        turn.into_iter().chain(untaken).min_by_key(|(at, _)| *at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a connection to its end, or until its client is too slow.
pub(crate) async fn guard<T>(
    connection: impl Future<Output = T>,
    pace: &Pace,
    limits: &PaceLimits,
) -> Result<T, Slow> {
    let mut connection = pin!(connection);
    let mut alarm = pin!(sleep_until(Instant::now() + limits.head));
    poll_fn(|cx| {
        if let Poll::Ready(end) = connection.as_mut().poll(cx) {
            return Poll::Ready(Ok(end));
        }
        // Whatever changes whose turn it is has polled the connection, so this looks again in time.
        let Some((due, slow)) = pace.due(limits) else { return Poll::Pending };
        // An alarm that is too early is set anew when it rings, not at each request.
        if alarm.deadline() > due || alarm.is_elapsed() {
            alarm.as_mut().reset(due);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(Err(slow));
            }
            alarm.as_mut().reset(due);
        }
    })
    .await
}

/// A request from its head to the end of its answer.
#[derive(Debug)]
pub(crate) struct Active {
    pace: Arc<Pace>,
    answer: Option<u64>,
}

impl Active {
    /// The answer's body, watched until all of it is taken.
    pub(crate) fn answering(mut self, body: Body) -> Body {
        let mut state = self.pace.state();
        self.answer = Some(state.next_answer);
        state.next_answer += 1;
        drop(state);
        self.offered();
        Body::new(Answering { body, active: self })
    }

    /// From now on the client is to take it.
    fn offered(&self) {
        if let Some(answer) = self.answer {
            self.pace.state().untaken.insert(answer, Instant::now());
        }
    }

    /// The client has room for more.
    fn taken(&self) {
        if let Some(answer) = self.answer {
            self.pace.state().untaken.remove(&answer);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.taken();
        let mut state = self.pace.state();
        state.active -= 1;
        if state.active == 0 {
            state.owes = Owes::Nothing(Instant::now());
        }
    }
}

struct Answering {
    body: Body,
    active: Active,
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.active.taken();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() {
            self.active.offered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that notes what arrives, and whether it takes what is written.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }

    fn noting<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let mut state = self.pace.state();
        match written {
            Poll::Pending => drop(state.stuck.get_or_insert_with(Instant::now)),
            Poll::Ready(_) => state.stuck = None,
        }
        drop(state);
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pace.arrived();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noting(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.noting(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
