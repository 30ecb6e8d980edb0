//! Before each route: is there a token, and does it cover what is asked for?

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sawpit_service::Clock;
use sawpit_store::{Role, Store};

use super::{Access, Book, Known, Refusal};
use crate::problem::{Kind, Problem};
use crate::routes;

/// Lets in who may come in. Clones share what they know.
#[derive(Clone)]
pub struct Guard {
    access: Access,
    book: Arc<Book>,
}

/// Who makes a request; nobody in particular where no tokens are asked for.
#[derive(Clone, Default)]
pub(crate) struct Caller(Option<Holder>);

/// Who has a token.
#[derive(Clone)]
struct Holder {
    known: Arc<Known>,
    book: Arc<Book>,
}

impl Guard {
    /// For a listener; the tokens are read every `refresh`. Must be called within a tokio runtime: where there are tokens it starts the task that reads
    /// them, which ends when the last clone is dropped.
    #[must_use]
    pub fn new(access: Access, store: Store, clock: Clock, refresh: Duration) -> Self {
        let book = Book::empty(clock);
        if access == Access::Tokens {
            book.follow(store, refresh);
        }
        Self { access, book }
    }

    /// The same tokens, for another listener.
    #[must_use]
    pub fn with(&self, access: Access) -> Self {
        Self { access, book: Arc::clone(&self.book) }
    }

    /// Waits until the tokens were read once, where any are asked for: before that, a valid one could not be told from
    /// one that is not, and is answered 503.
    pub async fn knows_tokens(&self) {
        if self.access == Access::Tokens {
            self.book.was_read().await;
        }
    }

    fn admit(&self, request: &Request) -> Result<Caller, Refusal> {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        match (self.access, path.and_then(|path| needed(path, request.method()))) {
            (Access::Open, _) | (_, None) => Ok(Caller::default()),
            (Access::Tokens, Some(role)) => {
                let known = self.book.admit(bearer(request.headers()), role)?;
                Ok(Caller(Some(Holder { known, book: Arc::clone(&self.book) })))
            }
        }
    }
}

impl Caller {
    /// Whether it may post logs of this device.
    pub(crate) fn may_post_for(&self, device_id: &str) -> bool {
        self.0.as_ref().is_none_or(|holder| holder.known.may_post_for(device_id))
    }

    /// Counts the logs of a batch beyond the first, which was counted with the request.
    pub(crate) fn charge_batch(&self, logs: usize) {
        if let Some(holder) = &self.0 {
            holder.known.charge_more(logs.saturating_sub(1));
        }
    }

    /// The token's id; empty where there is none.
    pub(crate) fn id(&self) -> &str {
        self.0.as_ref().map_or("", |holder| holder.known.id())
    }

    /// Whether it would be let in still. An answer that has no end asks again and again.
    pub(crate) fn is_welcome(&self) -> bool {
        self.0.as_ref().is_none_or(|holder| holder.book.still_admits(&holder.known))
    }
}

/// The middleware.
pub(crate) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.admit(&request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => problem(refusal).into_response(),
    }
}

/// The role that a route needs; none for health and the description of the API, and for what is no route.
fn needed(path: &str, method: &Method) -> Option<Role> {
    match path {
        // Asking what a path takes tells nothing that the description does not.
        _ if method == Method::OPTIONS => None,
        routes::LOG => Some(Role::Ingest),
        routes::BATCH if method == Method::POST => Some(Role::Ingest),
        routes::BATCH | routes::LOGS | routes::DEVICE | routes::TAIL | routes::STATS | routes::CHAIN => {
            Some(Role::Read)
        }
        routes::PLUGINS | routes::DIFFERENCES | routes::METRICS => Some(Role::Admin),
        routes::OPENAPI
        | routes::DOCS
        | routes::DOCS_PAGE
        | routes::DOCS_FILE
        | routes::LIVE
        | routes::READY => None,
        // A route that is forgotten here is closed rather than open.
        _ => Some(Role::Admin),
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1). Never one of the URL: those are logged.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    // Of two, a proxy may have looked at the other one.
    let only = given.next().filter(|_| given.next().is_none())?;
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn problem(refusal: Refusal) -> Problem {
    let (reason, problem) = match refusal {
        Refusal::Missing => (
            "missing",
            Problem::new(
                Kind::Unauthorized,
                "Send the header Authorization: Bearer TOKEN, once; `sawpit token create` makes one.",
            ),
        ),
        Refusal::Invalid => (
            "invalid",
            Problem::new(
                Kind::Unauthorized,
                "The token is not valid: it is none, was revoked, or has expired.",
            ),
        ),
        Refusal::Role(needed) => {
            ("role", Problem::new(Kind::Forbidden, format!("This needs a token of the role {needed}.")))
        }
        Refusal::Rate(wait) => {
            let problem = Problem::new(Kind::RateLimited, "The token was used more often than it may be.");
            ("rate", problem.retry_after(whole_seconds(wait)))
        }
        Refusal::Unknown => {
            let problem =
                Problem::new(Kind::StoreUnavailable, "The tokens could not be read yet; ask again.");
            ("unknown", problem.retry_after(1))
        }
    };
    metrics::counter!("sawpit_http_denied_total", "reason" => reason).increment(1);
    problem
}

/// At least 1: who comes back at once is refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_token_is_found_in_the_header_only_as_bearer() {
        let header = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(header("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(header("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(header("Basic abc"), None);
        assert_eq!(header("abc"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn waits_are_told_in_whole_seconds() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(9)), 9);
    }
}
