//! What can be set, each limit with its unit.

use std::time::Duration;

use sawpit_model::Limits;

use crate::access::Access;
use crate::manners::CorsOrigins;
use crate::tls::Tls;

/// How the routes behave. [`Default`] is DESIGN's values; nothing is read from the environment here.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Whether the listener of the API asks for tokens.
    pub access: Access,
    /// Whether that of operators does, where it is apart; none where both are one.
    pub admin: Option<Access>,
    /// How often the tokens are read again: so long one that was revoked may still be used.
    pub token_refresh: Duration,
    /// Which other sites' pages may use the API.
    pub cors_origins: CorsOrigins,
    /// Limits on what a device may post.
    pub limits: Limits,
    /// Most bytes of request bodies held at once, over all requests; beyond it 503. The memory they take is a multiple: a
    /// body is parsed into logs, and these are written as commands (measured with a silent Redis: about nine times).
    pub in_flight_bytes: usize,
    /// Longest time a body may take to arrive, beyond it 408.
    pub body_timeout: Duration,
    /// Longest time a request may take from its head to its answer, beyond it 503. Longer than
    /// [`HostSettings::body_timeout`] plus the queue's append time-out.
    pub request_timeout: Duration,
    /// Messages waiting in the queue at which ingest answers 503.
    pub backlog_limit: u64,
    /// Longest `Idempotency-Key`, in bytes without its quotes; beyond it 400.
    pub idempotency_key_bytes: usize,
    /// Longest answer that is remembered whole, in bytes; of a longer one the ids are, and not the reasons of what was
    /// rejected and dropped.
    pub idempotency_note_bytes: usize,
    /// How often the queue is asked for its backlog.
    pub backlog_poll: Duration,
    /// What `Retry-After` says on a 503 at least, and up to twice as much, so that not all come back at once; whole
    /// seconds, at least 1. While the backlog is full, it is the time that the workers need to make room.
    pub retry_after: Duration,
    /// The most that `Retry-After` says.
    pub retry_after_max: Duration,
    /// Threads that run plugins, and as many that parse large batches; 0 for one per core. One more runs plugins where a
    /// request would keep others waiting.
    pub plugin_threads: usize,
    /// Most logs of several requests put into one plugin call (a larger batch is one call of its own).
    pub gather_logs: usize,
    /// Most logs waiting for a plugin call, beyond it 503.
    pub gather_waiting_logs: usize,
    /// `limit` of a query that names none.
    pub query_limit_default: u32,
    /// Largest `limit` of a query.
    pub query_limit_max: u32,
    /// Most words and members of `log_data` that one query looks for.
    pub query_terms: usize,
    /// Most rows counted for `total`, where it must be counted.
    pub query_count_limit: u64,
    /// Longest time that a search may take in the database, beyond it 503. Shorter than [`HostSettings::request_timeout`],
    /// so that the client is told which limit it was.
    pub query_timeout: Duration,
    /// Most exports at once, beyond it 503.
    pub export_clients: usize,
    /// Most bytes of messages and `log_data` that an export reads at a time, and one row at least. It holds a few times as
    /// much in memory: the rows, and the text that they are written in.
    pub export_page_bytes: u64,
    /// Most clients that follow new logs at once, beyond it 503.
    pub tail_clients: usize,
    /// How long an answer to a query is cached.
    pub cache_ttl: Duration,
    /// How long the statistics are cached.
    pub stats_ttl: Duration,
    /// Largest answer that is cached, in bytes.
    pub cache_value_bytes: usize,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            access: Access::Open,
            admin: None,
            token_refresh: Duration::from_secs(2),
            cors_origins: CorsOrigins::None,
            limits: Limits::default(),
            in_flight_bytes: 256 * 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(25),
            backlog_limit: 100_000,
            idempotency_key_bytes: 255,
            idempotency_note_bytes: 16 * 1024,
            backlog_poll: Duration::from_millis(100),
            retry_after: Duration::from_secs(2),
            retry_after_max: Duration::from_secs(60),
            plugin_threads: 0,
            gather_logs: 256,
            gather_waiting_logs: 65_536,
            query_limit_default: 100,
            query_limit_max: 1_000,
            query_terms: 16,
            query_count_limit: sawpit_store::COUNT_LIMIT,
            query_timeout: Duration::from_secs(10),
            export_clients: 10,
            export_page_bytes: 1024 * 1024,
            tail_clients: 100,
            cache_ttl: Duration::from_secs(300),
            stats_ttl: Duration::from_secs(60),
            cache_value_bytes: 1024 * 1024,
        }
    }
}

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The certificate; none to serve in the clear.
    pub tls: Option<Tls>,
    /// Longest time from the first byte of a request's head to its last; for the first head of a connection, from the
    /// connection's start.
    pub header_timeout: Duration,
    /// Longest time a kept-alive connection may idle between two requests. A proxy must close its idle connections sooner
    /// (nginx: `keepalive_timeout` of the upstream, 60 s unless set), or it will now and then send a request into a
    /// connection that is being closed.
    pub idle_timeout: Duration,
    /// Longest time a client may take nothing of an answer that is ready for it.
    pub answer_timeout: Duration,
    /// Most connections open at once; further ones wait in the listener's backlog.
    pub connections: usize,
    /// Most requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// How long idle connections are kept after the shutdown began, for requests that are on their way to them; each
    /// answer then closes its connection.
    pub drain_grace: Duration,
    /// How long in-flight requests may take after the shutdown began.
    pub drain_timeout: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            tls: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            answer_timeout: Duration::from_secs(30),
            connections: 10_000,
            http2_streams: 256,
            drain_grace: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
