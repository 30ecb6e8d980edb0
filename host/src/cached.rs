//! Answers kept in the cache.
//!
//! A cached answer to a query is valid only under the generation of its device that it was filled under: the worker
//! sets a new one with each commit. The generation is read before the database is asked, so that a commit in between
//! makes a miss, never a stale answer. One that is missing (evicted, never set) is set by the host first, or an
//! answer filled under "none" would come back to life when the worker's key is evicted.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use sawpit_queue::Cache;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// The cache.
    Cache,
    /// The database.
    Database,
}

impl Source {
    const fn suffix(self) -> &'static [u8] {
        match self {
            Self::Cache => br#","source":"cache"}"#,
            Self::Database => br#","source":"database"}"#,
        }
    }
}

/// A JSON object's text without its closing brace, so that `source` can be added without printing it again.
#[derive(Clone)]
pub(crate) struct OpenObject(Bytes);

impl OpenObject {
    /// `value` must be a struct with at least one field.
    pub(crate) fn of(value: &impl Serialize) -> Result<Self, Problem> {
        let mut text = serde_json::to_vec(value).map_err(Problem::internal)?;
        match text.pop() {
            Some(b'}') => Ok(Self(text.into())),
            _ => Err(Problem::internal("an answer is not an object")),
        }
    }

    /// The answer, or that it is what the client has already (RFC 9110, section 13.1.2). The tag is weak: where the
    /// answer came from is not a part of it.
    pub(crate) fn respond(&self, source: Source, asked: &HeaderMap) -> Response {
        let tag = format!("W/\"{}\"", blake3::hash(&self.0).to_hex().get(..32).unwrap_or_default());
        let mut response =
            if is_known(&tag, asked) { StatusCode::NOT_MODIFIED.into_response() } else { self.whole(source) };
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(ETAG, tag);
        }
        // The client may keep it, and asks each time whether it is still right.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        // Compression adds it only to what is large enough, and that the client has it already is never that.
        headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
        response
    }

    fn whole(&self, source: Source) -> Response {
        let suffix = source.suffix();
        let mut body = BytesMut::with_capacity(self.0.len() + suffix.len());
        body.extend_from_slice(&self.0);
        body.extend_from_slice(suffix);
        let mut response = body.freeze().into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    pub(crate) fn from_cache(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// Whether the client named this tag, or any.
fn is_known(tag: &str, asked: &HeaderMap) -> bool {
    let named = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    // Compared weakly, as the method is GET or HEAD: the same but for the W/.
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    named.flat_map(|list| list.split(',')).any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

/// Whether the client asked for an answer that is not from the cache.
pub(crate) fn bypassed(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache")))
}

/// Counts how a question was answered: `hit`, `miss`, or `bypass` where the client wanted the database.
pub(crate) fn count(query: &'static str, outcome: &'static str) {
    metrics::counter!("sawpit_query_cache_total", "query" => query, "outcome" => outcome).increment(1);
}

/// What the cache knows of a key.
pub(crate) enum Looked {
    /// The answer.
    Hit(OpenObject),
    /// Ask the database, then keep the answer under this generation.
    Miss(Bytes),
    /// Ask the database: the cache is away.
    Away,
}

/// The key of a device's generation, which the worker sets as well.
pub(crate) fn generation_key(device_id: &str) -> String {
    format!("cache:gen:{device_id}")
}

/// Looks for an answer under the device's present generation. `fresh` is a generation that was never used, taken when
/// the device has none.
pub(crate) async fn look(
    cache: &Cache,
    generation_key: &str,
    key: &str,
    fresh: String,
    ttl: Duration,
) -> Looked {
    let Ok(found) = cache.get_many(&[generation_key, key]).await else { return Looked::Away };
    let mut found = found.into_iter();
    let (generation, value) = (found.next().flatten(), found.next().flatten());
    let Some(generation) = generation else {
        let fresh = Bytes::from(fresh);
        // Outlives every answer that is filled under it. Of several that find none, all take the first one's.
        let agreed = cache.get_or_set(generation_key, fresh, ttl * 2).await;
        return agreed.map_or(Looked::Away, Looked::Miss);
    };
    match value.and_then(|value| valid(&value, &generation)) {
        Some(answer) => Looked::Hit(answer),
        None => Looked::Miss(generation),
    }
}

/// A value is a line that names its generation, then the answer.
fn valid(value: &Bytes, generation: &[u8]) -> Option<OpenObject> {
    let line = value.iter().position(|byte| *byte == b'\n')?;
    let (under, answer) = (value.slice(..line), value.slice(line + 1..));
    (under == generation && !answer.is_empty()).then_some(OpenObject(answer))
}

/// Keeps an answer under the generation that [`look`] gave.
pub(crate) async fn keep(cache: &Cache, key: &str, generation: &[u8], answer: &OpenObject, ttl: Duration) {
    let mut value = BytesMut::with_capacity(generation.len() + 1 + answer.0.len());
    value.extend_from_slice(generation);
    value.extend_from_slice(b"\n");
    value.extend_from_slice(&answer.0);
    cache.set(key, value.freeze(), ttl).await;
}

/// A device id as a part of a key: `:` and `%` are escaped, so that no id can make another's key.
pub(crate) fn key_part(device_id: &str) -> String {
    let mut part = String::with_capacity(device_id.len());
    for char in device_id.chars() {
        match char {
            ':' | '%' => {
                let _infallible = write!(part, "%{:02X}", u32::from(char));
            }
            _ => part.push(char),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_device_makes_another_ones_key() {
        assert_eq!(key_part("sensor-1"), "sensor-1");
        assert_eq!(key_part("a:100%"), "a%3A100%25");
    }

    #[test]
    fn a_value_of_another_generation_is_not_valid() {
        let value = Bytes::from_static(b"g1\n{\"a\":1");
        assert!(valid(&value, b"g1").is_some());
        assert!(valid(&value, b"g2").is_none());
        assert!(valid(&Bytes::from_static(b"g1"), b"g1").is_none());
    }

    #[test]
    fn no_cache_is_found_among_directives() {
        let mut headers = HeaderMap::new();
        assert!(!bypassed(&headers));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=0, No-Cache"));
        assert!(bypassed(&headers));
    }
}
