//! `GET /api/tail`: new rows as they are stored, as server-sent events.
//!
//! Best effort, like `tail -f` over a network: it starts with what comes next, and who cannot keep up gets an event
//! `gap` where rows are missing. What is stored can always be asked for with `GET /api/logs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use sawpit_model::{Level, MessageId, RawObject};
use sawpit_queue::{Heard, Listener};
use sawpit_service::Shutdown;
use sawpit_store::Search;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::access::Caller;
use crate::app::App;
use crate::problem::{FieldProblem, Kind, Problem};

/// A comment is sent in a silence of this length, so that proxies see a living connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Asks nginx to hand on each event at once:
/// <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering>.
const NO_BUFFERING: (&str, &str) = ("x-accel-buffering", "no");

/// Which rows are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// Empty for all.
    devices: Vec<String>,
    /// Empty for all.
    levels: Vec<Level>,
    search: Search,
}

/// What the filters look at in a row's JSON.
#[derive(Deserialize)]
struct Seen<'a> {
    message_id: MessageId,
    #[serde(borrow)]
    device_id: std::borrow::Cow<'a, str>,
    log_level: Level,
    #[serde(borrow)]
    message: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    log_data: &'a RawValue,
}

/// What may be asked for; only for the description of the API.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the derive only")]
struct TailFilters {
    /// Only this device; may be repeated.
    device_id: Option<String>,
    /// Only these levels; repeated or separated by commas.
    log_level: Option<String>,
    /// Words of the message, as in a query; needs no index.
    q: Option<String>,
    /// data.KEY=VALUE, as in a query; needs no index.
    #[param(value_type = crate::openapi::Members, inline, style = Form, explode, required = false)]
    members: crate::openapi::Members,
}

/// New rows as they are stored.
///
/// Events are `log`, with the row as JSON and its message_id as the event's id, and `gap` where rows may be missing.
#[utoipa::path(
    get, path = "/api/tail", tag = "query",
    params(TailFilters),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_tail(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let wanted = parse(query.as_deref().unwrap_or(""), app.settings.query_terms)?;
    let Ok(place) = Arc::clone(&app.tails).try_acquire_owned() else {
        metrics::counter!("sawpit_http_refused_total", "limit" => "tail_clients").increment(1);
        let detail = format!("{} clients follow new logs, the limit.", app.settings.tail_clients);
        return Err(app.come_back(Kind::Busy, detail));
    };
    let following = Following {
        listener: app.cache.feed().listen(),
        ready: VecDeque::new(),
        wanted,
        shutdown: app.shutdown.clone(),
        caller,
        looks: looks(app.settings.token_refresh),
        _place: place,
    };
    let events = Sse::new(events(following)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([NO_BUFFERING], events).into_response())
}

/// One client that follows.
struct Following {
    listener: Listener,
    /// Events of one message that are still to be sent.
    ready: VecDeque<Event>,
    wanted: Wanted,
    shutdown: Shutdown,
    caller: Caller,
    /// When to look whether the caller is welcome still, though nothing comes.
    looks: Interval,
    _place: OwnedSemaphorePermit,
}

/// As often as the tokens are read.
fn looks(every: Duration) -> Interval {
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Ends when the process is asked to end, as a drain would wait for it otherwise, and when the caller's token is revoked
/// or has expired.
fn events(following: Following) -> impl Stream<Item = Result<Event, std::convert::Infallible>> {
    stream::unfold(following, |mut following| async move {
        while following.caller.is_welcome() {
            if let Some(event) = following.ready.pop_front() {
                return Some((Ok(event), following));
            }
            tokio::select! {
                () = following.shutdown.requested() => return None,
                heard = following.listener.next() => following.ready = following.wanted.events(heard),
                _ = following.looks.tick() => {}
            }
        }
        None
    })
}

impl Wanted {
    fn events(&self, heard: Heard) -> VecDeque<Event> {
        match heard {
            Heard::Gap => [Event::default().event("gap").data("{}")].into(),
            Heard::Message(rows) => self.rows(&rows).collect(),
        }
    }

    /// A message is a row's JSON a line.
    fn rows(&self, rows: &Bytes) -> impl Iterator<Item = Event> {
        let lines = rows.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        lines.filter_map(|line| {
            let seen: Seen<'_> = serde_json::from_str(line).ok()?;
            let event = || Event::default().event("log").id(seen.message_id.to_string()).data(line);
            self.wants(&seen).then(event)
        })
    }

    fn wants(&self, seen: &Seen<'_>) -> bool {
        (self.devices.is_empty() || self.devices.iter().any(|device| *device == seen.device_id))
            && (self.levels.is_empty() || self.levels.contains(&seen.log_level))
            && (self.search.is_empty()
                || self.search.finds(&seen.message, &RawObject::from_trusted(seen.log_data.get())))
    }
}

fn parse(text: &str, most_terms: usize) -> Result<Wanted, Problem> {
    let (mut wanted, mut errors) = (Wanted::default(), Vec::new());
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "device_id" => wanted.devices.push(value.into_owned()),
            "log_level" => match crate::query::levels(&value) {
                Ok(levels) => wanted.levels.extend(levels),
                Err(rule) => errors.push(FieldProblem::new("log_level", rule)),
            },
            name if name == "q" || name.starts_with("data.") => {
                if let Err(rule) = crate::query::search(&mut wanted.search, name, &value, most_terms) {
                    errors.push(FieldProblem::new(name, rule));
                }
            }
            _ => errors.push(FieldProblem::new(
                name.chars().take(64).collect::<String>(),
                "is not a parameter; known are device_id, log_level, q and data.KEY",
            )),
        }
    }
    if errors.is_empty() { Ok(wanted) } else { Err(Problem::fields(Kind::BadQuery, errors)) }
}
