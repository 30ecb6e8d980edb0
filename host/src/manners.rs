//! The manners of HTTP around every route: compression both ways, what browsers of other sites may do, and headers that
//! keep browsers from guessing.

use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, Response};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::ingest::key::KEY;
use crate::ingest::once::REPLAYED;
use crate::observe::REQUEST_ID;
use crate::tail::LAST_EVENT_ID;
use crate::traced::TRACEPARENT;

/// Answers below this many bytes are sent as they are: compressed they would fit into one packet no better.
const COMPRESSED_FROM: u16 = 1_024;

/// What answers say unless they say something else. They are of devices and for their owners, so no cache on the way
/// keeps them; nothing is run or framed.
static USUAL: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

/// Which other sites' pages may use the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsOrigins {
    /// None.
    #[default]
    None,
    /// These, as in `https://example.com`.
    These(Vec<HeaderValue>),
    /// All: only for what everybody may know.
    Any,
}

/// Answers are compressed for who takes that.
pub(crate) fn compression() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().compress_when(DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_FROM)))
}

/// Adds the usual headers to an answer that has none of its own.
pub(crate) fn usual<B>(mut response: Response<B>) -> Response<B> {
    for (name, value) in &USUAL {
        if !response.headers().contains_key(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Lets the pages of these sites in; none where there are none.
pub(crate) fn cross_origin(origins: &CorsOrigins) -> Option<CorsLayer> {
    allowed(origins).map(cors)
}

fn allowed(origins: &CorsOrigins) -> Option<AllowOrigin> {
    match origins {
        CorsOrigins::None => None,
        CorsOrigins::These(origins) => Some(AllowOrigin::list(origins.iter().cloned())),
        CorsOrigins::Any => Some(AllowOrigin::any()),
    }
}

fn cors(origins: AllowOrigin) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CACHE_CONTROL,
            CONTENT_ENCODING,
            CONTENT_TYPE,
            IF_NONE_MATCH,
            KEY,
            LAST_EVENT_ID,
            REQUEST_ID,
            TRACEPARENT,
        ])
        .expose_headers([ETAG, RETRY_AFTER, REPLAYED, REQUEST_ID])
}
