//! The manners of HTTP around every route: compression both ways, what browsers of other sites may do, and headers that
//! keep browsers from guessing.

use axum::Router;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::ingest::key::KEY;
use crate::ingest::once::REPLAYED;
use crate::observe::REQUEST_ID;
use crate::tail::LAST_EVENT_ID;
use crate::traced::TRACEPARENT;

/// Answers below this many bytes are sent as they are: compressed they would fit into one packet no better.
const COMPRESSED_FROM: u16 = 1_024;

/// What answers say unless they say something else. They are of devices and for their owners, so no cache on the way
/// keeps them; nothing is run or framed.
const USUAL: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
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

/// Puts all of it around a router. A body that is compressed is taken apart as it is read, so its limits hold for what
/// comes out. One in an unknown encoding is left for the route to refuse.
pub(crate) fn mannerly(router: Router, origins: &CorsOrigins) -> Router {
    let large = DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_FROM));
    let router = router
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(CompressionLayer::new().compress_when(large));
    let router = USUAL.into_iter().fold(router, |router, (name, value)| {
        let value = HeaderValue::from_static(value);
        router.layer(SetResponseHeaderLayer::if_not_present(name, value))
    });
    match allowed(origins) {
        Some(origins) => router.layer(cors(origins)),
        None => router,
    }
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
