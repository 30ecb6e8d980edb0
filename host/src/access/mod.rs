//! Who may do what: bearer tokens (RFC 6750) with roles, kept in the database.
//!
//! A request costs no I/O: the tokens are in memory and read again every few seconds, so that one that is made or revoked
//! is known to all processes within that time, and a database that is away locks nobody out. A token's text names it, and
//! what is compared is a digest of its secret, in constant time.

mod bucket;
mod guard;
mod secret;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use globset::{Glob, GlobMatcher};
use sawpit_model::Timestamp;
use sawpit_service::Clock;
use sawpit_store::{Role, Store, StoreError, Token};
use tokio::sync::watch;

pub use guard::Guard;
pub(crate) use guard::{Caller, guard};
pub use secret::{ParseSecretError, Secret};

use bucket::Bucket;

/// Longest pattern of devices. What it is compiled to is limited as well, and one that reached that limit would panic.
const PATTERN_BYTES: usize = 256;

/// Whether a listener asks for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody may do everything.
    Open,
    /// Only who has a token of the role that it needs; health needs none.
    Tokens,
}

/// A token and what is derived from it.
pub(crate) struct Known {
    token: Token,
    devices: Option<GlobMatcher>,
    bucket: Option<Mutex<Bucket>>,
}

/// The tokens that are valid, as far as is known.
pub(crate) struct Book {
    known: ArcSwap<HashMap<String, Arc<Known>>>,
    /// Whether the tokens were read once: until then nobody is known, and nobody can be refused.
    was_read: watch::Sender<bool>,
    clock: Clock,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no token.
    Missing,
    /// It is none, was revoked, or has expired: which of these is nobody's business.
    Invalid,
    /// Its role does not cover the request, which needs this one.
    Role(Role),
    /// It was used more often than it may; come back after so long.
    Rate(Duration),
    /// The tokens were not read yet, so none can be judged.
    Unknown,
}

impl Known {
    fn new(token: Token) -> Self {
        let devices = token.devices.as_deref().and_then(|pattern| {
            // What breaks the rule was refused when the token was made, unless that was before there was the rule.
            let tell = |rule: &String| {
                tracing::warn!(
                    token = token.id,
                    "it may post for no device: its pattern {rule}; make another token"
                );
            };
            device_pattern(pattern).inspect_err(tell).ok()
        });
        let bucket = token.rate.map(|rate| Mutex::new(Bucket::full(rate, Instant::now())));
        Self { devices, bucket, token }
    }

    pub(crate) fn id(&self) -> &str {
        &self.token.id
    }

    /// Whether it may post logs of this device.
    pub(crate) fn may_post_for(&self, device_id: &str) -> bool {
        match (&self.token.devices, &self.devices) {
            (None, _) => true,
            (Some(_), Some(devices)) => devices.is_match(device_id),
            (Some(_), None) => false,
        }
    }

    /// Counts so many logs or requests; refused while earlier ones are not worked off.
    fn charge(&self, count: u32) -> Result<(), Refusal> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(count, Instant::now()).map_err(Refusal::Rate)
    }

    /// Counts what was let in already and turned out to be more.
    pub(crate) fn charge_more(&self, count: usize) {
        let Some(bucket) = &self.bucket else { return };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.owe(u32::try_from(count).unwrap_or(u32::MAX), Instant::now());
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.token.expires_at.is_none_or(|end| now < end)
    }
}

impl Book {
    pub(crate) fn empty(clock: Clock) -> Arc<Self> {
        Arc::new(Self { known: ArcSwap::default(), was_read: watch::Sender::new(false), clock })
    }

    /// Waits until the tokens were read once.
    pub(crate) async fn was_read(&self) {
        // Waiting fails only when the sender is gone, and `self` holds it.
        let _ = self.was_read.subscribe().wait_for(|was_read| *was_read).await;
    }

    /// Reads the tokens again and again, until the book is dropped.
    pub(crate) fn follow(self: &Arc<Self>, store: Store, every: Duration) {
        let book = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(book) = book.upgrade() {
                match book.refresh(&store).await {
                    Ok(()) => drop(book.was_read.send_replace(true)),
                    Err(error) => {
                        tracing::warn!(%error, "the tokens could not be read; those that are known stay valid");
                    }
                }
                drop(book);
                tokio::time::sleep(every).await;
            }
        });
    }

    /// A token that is unchanged keeps its count.
    async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let tokens = store.tokens().await?;
        let before = self.known.load();
        let known = tokens.into_iter().map(|token| {
            let same = before.get(&token.id).filter(|known| known.token == token).map(Arc::clone);
            (token.id.clone(), same.unwrap_or_else(|| Arc::new(Known::new(token))))
        });
        self.known.store(Arc::new(known.collect()));
        Ok(())
    }

    fn admit(&self, text: Option<&str>, needed: Role) -> Result<Arc<Known>, Refusal> {
        let secret: Secret = text.ok_or(Refusal::Missing)?.parse().map_err(|_| Refusal::Invalid)?;
        if !*self.was_read.borrow() {
            return Err(Refusal::Unknown);
        }
        let tokens = self.known.load();
        let known = tokens.get(secret.id()).ok_or(Refusal::Invalid)?;
        if !secret.is_of(&known.token.digest) || !known.is_valid(self.clock.now()) {
            return Err(Refusal::Invalid);
        }
        if !known.token.role.covers(needed) {
            return Err(Refusal::Role(needed));
        }
        known.charge(1)?;
        Ok(Arc::clone(known))
    }

    /// Whether a token that was let in would be let in now: it was neither revoked nor has it expired.
    fn still_admits(&self, known: &Known) -> bool {
        self.known.load().get(known.id()).is_some_and(|now| {
            now.token.digest == known.token.digest
                && now.token.role == known.token.role
                && now.is_valid(self.clock.now())
        })
    }
}

/// Checks a pattern of devices as it will be matched: `*` stands for any text, `?` for one character, `[a-z]` for one of
/// several, `{a,b}` for one of these.
///
/// # Errors
/// The rule that it breaks.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    device_pattern(pattern).map(drop)
}

/// The pattern as it will be matched, or the rule that it breaks.
pub(crate) fn device_pattern(pattern: &str) -> Result<GlobMatcher, String> {
    if pattern.is_empty() {
        return Err("must be a pattern as in sensor-*: an empty one fits no device".to_owned());
    }
    if pattern.len() > PATTERN_BYTES {
        return Err(format!("must be a pattern of at most {PATTERN_BYTES} bytes, but has {}", pattern.len()));
    }
    let glob = Glob::new(pattern).map_err(|error| format!("must be a pattern as in sensor-*: {error}"))?;
    Ok(glob.compile_matcher())
}
