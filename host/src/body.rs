//! Reads a request's body within its limits: type, length, time, and bytes held over all requests.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::admission::Held;
use crate::app::Shared;
use crate::problem::{Kind, Problem};
use crate::settings::HostSettings;
use crate::unpack::Coding;

/// How a body may be compressed: what [`crate::unpack`] takes apart.
const CODINGS: &str = "gzip, zstd";

/// A whole body. Its bytes count as in flight for as long as this lives.
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    held: Held,
}

impl Whole {
    /// Lets the bytes go once they are parsed. What they were parsed into counts in their place.
    pub(crate) fn parsed(self) -> Held {
        self.held
    }
}

/// Refuses what does not say that it is JSON, before a byte of it is read.
pub(crate) fn check_headers(headers: &HeaderMap, settings: &HostSettings) -> Result<(), Problem> {
    if !headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return Err(Problem::new(
            Kind::WrongContentType,
            "Send the header Content-Type: application/json (charset utf-8, or none).",
        ));
    }
    if Coding::of(headers) != Coding::Identity {
        let detail = "Send the body as it is, or with Content-Encoding: gzip or zstd.";
        return Err(Problem::new(Kind::WrongContentEncoding, detail).accept_encoding(CODINGS));
    }
    match announced(headers) {
        Some(bytes) if bytes > settings.limits.body_bytes as u64 => Err(too_large(settings)),
        _ => Ok(()),
    }
}

/// Reads the body whole.
pub(crate) async fn read(app: &Shared, headers: &HeaderMap, mut body: Body) -> Result<Whole, Problem> {
    let settings = &app.settings;
    let deadline = Instant::now() + settings.body_timeout;
    match timeout_at(deadline, collect(&mut body, app.in_flight.hold(), app)).await {
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(problem)) => {
            pass_by(headers, &mut body, settings, deadline).await;
            Err(problem)
        }
        Err(_) => Err(Problem::new(
            Kind::BodyTimeout,
            format!(
                "The body must arrive within {} s; nothing was taken.",
                settings.body_timeout.as_secs_f32()
            ),
        )),
    }
}

/// Lets a body that is refused go by unread.
pub(crate) async fn discard(app: &Shared, headers: &HeaderMap, mut body: Body) {
    let deadline = Instant::now() + app.settings.body_timeout;
    pass_by(headers, &mut body, &app.settings, deadline).await;
}

/// Takes what is still being sent, up to the limit of a body, and holds none of it: a client whose connection closes
/// while it sends may never read why. One that expects to be told to go on has sent nothing.
async fn pass_by(headers: &HeaderMap, body: &mut Body, settings: &HostSettings, deadline: Instant) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut left = settings.limits.body_bytes;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(bytes) else { return };
            left = less;
        }
    };
    // Who is slower than that is cut off.
    let _ = timeout_at(deadline, rest).await;
}

async fn collect(body: &mut Body, mut held: Held, app: &Shared) -> Result<Whole, Problem> {
    let first = next(body, &mut held, 0, app).await?.unwrap_or_default();
    let Some(second) = next(body, &mut held, first.len(), app).await? else {
        // The usual case, a body of one frame, is not copied.
        return Ok(Whole { bytes: first, held });
    };
    let mut whole = BytesMut::with_capacity((first.len() + second.len()) * 2);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(more) = next(body, &mut held, whole.len(), app).await? {
        whole.extend_from_slice(&more);
    }
    Ok(Whole { bytes: whole.freeze(), held })
}

/// The next bytes; `None` at the end. Trailers are skipped.
async fn next(
    body: &mut Body,
    held: &mut Held,
    so_far: usize,
    app: &Shared,
) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "body broken off");
            Problem::new(
                Kind::BodyUnreadable,
                "The connection broke off within the body, its chunks are malformed, or it is not compressed as its \
                 Content-Encoding says, to its last byte.",
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if so_far + data.len() > app.settings.limits.body_bytes {
            return Err(too_large(&app.settings));
        }
        held.grow(data.len()).map_err(|_| at_limit(app))?;
        return Ok(Some(data));
    }
    Ok(None)
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(settings: &HostSettings) -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!(
            "A body may have {} bytes at most, uncompressed; split the batch.",
            settings.limits.body_bytes
        ),
    )
}

fn at_limit(app: &Shared) -> Problem {
    metrics::counter!("sawpit_http_refused_total", "limit" => "in_flight_bytes").increment(1);
    app.come_back(
        Kind::Busy,
        format!(
            "The host holds {} bytes of bodies, its limit; nothing was taken, send it again.",
            app.settings.in_flight_bytes
        ),
    )
}

/// `application/json`, with no parameter but `charset=utf-8` (RFC 8259 defines none; many clients send it).
fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.filter(|part| !part.is_empty()).all(is_utf8_charset)
}

fn is_utf8_charset(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset")
            && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_other_types() {
        for yes in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json;",
        ] {
            assert!(is_json(&HeaderValue::from_static(yes)), "{yes}");
        }
        for no in [
            "",
            "text/plain",
            "application/jsonx",
            "application/json; charset=latin1",
            "application/json; x=y",
        ] {
            assert!(!is_json(&HeaderValue::from_static(no)), "{no}");
        }
    }
}
