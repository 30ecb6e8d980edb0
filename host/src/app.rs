//! What the routes share.

use std::sync::Arc;

use sawpit_model::Log;
use sawpit_plugins::{Chain, Ingested, Registry, Stage};
use sawpit_queue::{Cache, Producer, Queue};
use sawpit_service::{Clock, Door, Shutdown, Tracer};
use sawpit_store::Store;
use tokio::sync::Semaphore;

use crate::admission::{Admitted, Backlog, Held, InFlight};
use crate::body::Whole;
use crate::come_back::ComeBack;
use crate::flight::Flights;
use crate::gather::{Done, Gather, GatherError, GatherLimits, Plugins};
use crate::host::{HostError, HostParts};
use crate::observe::RequestIds;
use crate::problem::{Kind, Problem};
use crate::settings::HostSettings;
use crate::verdicts::Verdicts;

/// From this many bytes on, a body is parsed off the threads that serve connections (about 0.1 ms of work).
const PARSE_ASIDE_BYTES: usize = 32 * 1024;
/// Most bodies parsed or waiting for it inside the pool; the in-flight bytes limit how many wait before it.
const ASIDE_WAITING: usize = 64;

/// The state of the router; a handle.
pub(crate) type App = Arc<Shared>;

/// Everything a handler needs.
pub(crate) struct Shared {
    pub(crate) producer: Producer,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) registry: Registry,
    pub(crate) clock: Clock,
    pub(crate) settings: HostSettings,
    pub(crate) backlog: Arc<Backlog>,
    queue: Queue,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) request_ids: Arc<RequestIds>,
    pub(crate) flights: Flights,
    /// Places for clients that follow new logs.
    pub(crate) tails: Arc<Semaphore>,
    /// Places for exports.
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) shutdown: Shutdown,
    pub(crate) come_back: Arc<ComeBack>,
    pub(crate) tracer: Tracer,
    pub(crate) verdicts: Verdicts,
    gather: Gather<Plugins>,
    /// Threads for work aside, which never waits for a plugin.
    aside: Door,
}

impl Shared {
    pub(crate) fn new(parts: HostParts) -> Result<App, HostError> {
        let settings = parts.settings;
        let aside = Door::new(settings.plugin_threads, ASIDE_WAITING)?;
        let verdicts = Verdicts::new(parts.store.clone(), parts.clock.clone());
        let backlog = Backlog::new(settings.backlog_limit);
        let come_back = Arc::new(ComeBack::new(&settings));
        backlog.watch(parts.queue.clone(), settings.backlog_poll, Arc::clone(&come_back));
        Ok(Arc::new(Self {
            producer: parts.queue.producer(),
            queue: parts.queue,
            gather: gather(&settings, parts.registry.clone(), verdicts.clone())?,
            verdicts,
            store: parts.store,
            cache: parts.cache,
            registry: parts.registry,
            request_ids: Arc::new(RequestIds::new(parts.clock.now())),
            clock: parts.clock,
            flights: Flights::default(),
            tails: Arc::new(Semaphore::new(settings.tail_clients)),
            exports: Arc::new(Semaphore::new(settings.export_clients)),
            shutdown: parts.shutdown,
            tracer: parts.tracer,
            in_flight: InFlight::new(settings.in_flight_bytes),
            settings,
            come_back,
            backlog,
            aside,
        }))
    }

    /// Refuses an append while the backlog is at its limit.
    pub(crate) async fn admit(&self) -> Result<(), Problem> {
        if matches!(self.backlog.admit(), Admitted::Full(_)) {
            // The estimate counts an append twice that a poll saw too, so nobody is refused on its word alone.
            match self.queue.backlog().await {
                Ok(waiting) => self.backlog.learned(waiting),
                Err(error) => tracing::debug!(%error, "backlog unknown"),
            }
        }
        match self.backlog.admit() {
            Admitted::Yes => Ok(()),
            Admitted::Full(waiting) => {
                metrics::counter!("sawpit_http_refused_total", "limit" => "backlog").increment(1);
                Err(self.come_back(
                    Kind::BacklogFull,
                    format!(
                        "{waiting} messages wait, the limit is {}; nothing was taken.",
                        self.backlog.limit()
                    ),
                ))
            }
        }
    }

    /// A 503 with `Retry-After`.
    pub(crate) fn come_back(&self, kind: Kind, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
        let seconds = match kind {
            Kind::BacklogFull => self.come_back.seconds_at(self.backlog.waiting()),
            _ => self.come_back.seconds(),
        };
        Problem::new(kind, detail).retry_after(seconds)
    }

    /// What the queue is: the messaging system in traces.
    pub(crate) fn queue_kind(&self) -> &'static str {
        self.queue.kind()
    }

    /// Runs the ingest stages of the chain over the logs of one request, whose body is `held`. If it is traced, the plugins'
    /// calls are told.
    pub(crate) async fn ingest(
        &self,
        logs: Vec<Log>,
        traced: bool,
        held: &Arc<Held>,
    ) -> Result<Done, Problem> {
        let chain = self.registry.chain();
        if is_idle(&chain) {
            return Ok(Done {
                chain: chain.id().into(),
                outcomes: logs.into_iter().map(Ingested::Accepted).collect(),
                calls: Vec::new(),
            });
        }
        drop(chain);
        self.gather.run(logs, traced, Arc::clone(held)).await.map_err(|error| match error {
            GatherError::Full => self.come_back(
                Kind::Busy,
                format!(
                    "{} logs wait for the plugins, the limit; nothing was taken.",
                    self.settings.gather_waiting_logs
                ),
            ),
            GatherError::Panicked => Problem::internal(error),
        })
    }

    /// Parses a body, a large one off the threads that serve connections.
    pub(crate) async fn parse<T: Send + 'static>(
        &self,
        body: &Whole,
        parse: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if body.bytes.len() < PARSE_ASIDE_BYTES {
            return Ok(parse(&body.bytes));
        }
        let bytes = body.bytes.clone();
        self.aside(move || parse(&bytes)).await
    }

    /// Runs work that takes milliseconds off the threads that serve connections.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.aside.run(work).await.map_err(Problem::internal)
    }
}

fn gather(
    settings: &HostSettings,
    registry: Registry,
    verdicts: Verdicts,
) -> Result<Gather<Plugins>, HostError> {
    let threads = settings.plugin_threads;
    // A runner each, and nothing else.
    let door = Door::new(threads, Semaphore::MAX_PERMITS)?;
    let limits = GatherLimits {
        runners: door.threads(),
        call_logs: settings.gather_logs,
        waiting_logs: settings.gather_waiting_logs,
    };
    Ok(Gather::new(limits, door, Door::new(1, 1)?, Plugins { registry, verdicts }))
}

/// Whether no log needs a call.
fn is_idle(chain: &Chain) -> bool {
    chain.is_empty_for(Stage::Filter) && chain.is_empty_for(Stage::Enrich)
}
