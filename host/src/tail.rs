//! `GET /api/tail`: new rows as they are stored, as server-sent events.
//!
//! Best effort, like `tail -f` over a network: it starts with what comes next, and who cannot keep up, or was away, gets
//! an event `gap` where rows may be missing. What is stored can always be asked for with `GET /api/logs`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use globset::GlobMatcher;
use sawpit_model::{Level, Limits, MessageId, RawObject};
use sawpit_queue::{Heard, Listener};
use sawpit_service::Shutdown;
use sawpit_store::Search;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::access::{Caller, device_pattern};
use crate::app::App;
use crate::problem::{FieldProblem, Kind, Problem};
use crate::query::pairs;
use crate::settings::HostSettings;

/// A comment is sent in a silence of this length, so that proxies see a living connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Asks nginx to hand on each event at once:
/// <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering>.
const NO_BUFFERING: (&str, &str) = ("x-accel-buffering", "no");

/// The last event that a client got which connects again; browsers send it by themselves.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Most patterns of devices that a client may follow: each is matched with each row.
const MOST_PATTERNS: usize = 16;

/// Which rows are wanted.
#[derive(Debug, Default)]
struct Wanted {
    /// With no patterns either: all.
    devices: Vec<String>,
    patterns: Vec<GlobMatcher>,
    /// Empty for all.
    levels: Vec<Level>,
    search: Search,
    /// `q` was given.
    has_words: bool,
}

/// What the filters look at in a row's JSON.
#[derive(Deserialize)]
struct Seen<'a> {
    message_id: MessageId,
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    log_level: Level,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    log_data: &'a RawValue,
}

/// What may be asked for; only for the description of the API.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the derive only")]
struct TailFilters {
    /// Only this device, or with a * those that it fits, as in sensor-*; may be repeated.
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
    params(TailFilters, crate::openapi::Resumed),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_tail(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = parse(query.as_deref().unwrap_or(""), &app.settings)?;
    let Ok(place) = Arc::clone(&app.tails).try_acquire_owned() else {
        metrics::counter!("sawpit_http_refused_total", "limit" => "tail_clients").increment(1);
        let detail = format!("{} clients follow new logs, the limit.", app.settings.tail_clients);
        return Err(app.come_back(Kind::Busy, detail));
    };
    let following = Following {
        listener: app.cache.feed().listen(),
        // What was stored since the last one is not looked up.
        ready: headers.contains_key(LAST_EVENT_ID).then(gap).into_iter().collect(),
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

/// Tells that rows may be missing here.
fn gap() -> Event {
    Event::default().event("gap").data("{}")
}

impl Wanted {
    /// Adds what one parameter asks for; what is wrong with it.
    fn parameter(&mut self, name: &str, value: String, settings: &HostSettings) -> Result<(), FieldProblem> {
        let added = match name {
            "device_id" => self.device(value, &settings.limits),
            "q" if self.has_words => Err("must be given once".to_owned()),
            "log_level" => crate::query::levels(&value).map(|levels| self.levels.extend(levels)),
            name if name == "q" || name.starts_with("data.") => {
                self.has_words |= name == "q";
                crate::query::search(&mut self.search, name, &value, settings.query_terms)
            }
            _ => {
                let rule = "is not a parameter; known are device_id, log_level, q and data.KEY";
                return Err(FieldProblem::unknown(name, rule));
            }
        };
        added.map_err(|rule| FieldProblem::new(name, rule))
    }

    /// Adds a device, or those of a pattern; the rule that it breaks.
    fn device(&mut self, text: String, limits: &Limits) -> Result<(), String> {
        if !text.contains('*') {
            crate::query::device(&text, limits)?;
            self.devices.push(text);
            return Ok(());
        }
        if self.patterns.len() >= MOST_PATTERNS {
            return Err(format!("must have a * in at most {MOST_PATTERNS} of its values"));
        }
        if text.contains('\0') {
            return Err("must not contain NUL".to_owned());
        }
        self.patterns.push(device_pattern(&text)?);
        Ok(())
    }

    fn events(&self, heard: Heard) -> VecDeque<Event> {
        match heard {
            Heard::Gap => [gap()].into(),
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
        self.wants_device(&seen.device_id)
            && (self.levels.is_empty() || self.levels.contains(&seen.log_level))
            && (self.search.is_empty()
                || self.search.finds(&seen.message, &RawObject::from_trusted(seen.log_data.get())))
    }

    fn wants_device(&self, device_id: &str) -> bool {
        (self.devices.is_empty() && self.patterns.is_empty())
            || self.devices.iter().any(|device| device == device_id)
            || self.patterns.iter().any(|pattern| pattern.is_match(device_id))
    }
}

fn parse(text: &str, settings: &HostSettings) -> Result<Wanted, Problem> {
    let (mut wanted, mut errors) = (Wanted::default(), Vec::new());
    for pair in pairs(text) {
        let (name, value) = match pair {
            Ok(pair) => pair,
            Err(problem) => {
                errors.push(problem);
                continue;
            }
        };
        if let Err(problem) = wanted.parameter(&name, value, settings) {
            errors.push(problem);
        }
    }
    if errors.is_empty() { Ok(wanted) } else { Err(Problem::fields(Kind::BadQuery, errors)) }
}
