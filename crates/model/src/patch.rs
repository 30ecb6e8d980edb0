//! Setting members of a [`RawObject`] by splicing text.
//!
//! The object's other members, and everything nested, stay byte for byte as the device sent them.

use std::borrow::Cow;
use std::ops::Range;

use crate::raw::key_name;
use crate::{Limits, RawObject, RawObjectError};

/// Why a patch was not applied; the object is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The patch itself breaks a rule of `log_data`.
    #[error("the patch {0}")]
    Patch(#[from] RawObjectError),
    /// The object would become longer than [`Limits::log_data_bytes`].
    #[error(
        "the patch makes log_data {bytes} bytes of JSON text, at most {limit} are allowed: set less, or replace what is there"
    )]
    TooLong {
        /// Length of the patched object in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// One member of a patch.
struct Set<'a> {
    /// Its place in the patch.
    order: usize,
    key: &'a str,
    name: Cow<'a, str>,
    value: &'a str,
    /// Whether the object has a member of that name, which it replaces in its place.
    replaces: bool,
}

impl RawObject {
    /// Sets the members of the JSON object `patch`, which is untrusted, in this object: a top-level member of
    /// the same name gets the new value in its old place, the others are added at the end in the patch's order.
    ///
    /// # Errors
    /// The patch is no object within `limits`, or the result would be too long; then nothing is changed.
    pub fn patch(&mut self, patch: &str, limits: &Limits) -> Result<(), PatchError> {
        let patch = Self::parse(patch, limits)?;
        let mut sets = sets(&patch);
        let replaced = replaced(self, &mut sets);
        sets.retain(|set| !set.replaces);
        sets.sort_unstable_by_key(|set| set.order);
        let text = spliced(self, &replaced, &sets, patch.as_str().len());
        if text.len() > limits.log_data_bytes {
            return Err(PatchError::TooLong { bytes: text.len(), limit: limits.log_data_bytes });
        }
        *self = Self::from_trusted(text);
        Ok(())
    }
}

/// The patch's members, sorted by name.
fn sets(patch: &RawObject) -> Vec<Set<'_>> {
    let set = |(order, (key, value))| Set { order, key, name: key_name(key), value, replaces: false };
    let mut sets: Vec<_> = patch.members().enumerate().map(set).collect();
    sets.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    sets
}

/// Which parts of the object's text become which values, in order.
fn replaced<'a>(object: &RawObject, sets: &mut [Set<'a>]) -> Vec<(Range<usize>, &'a str)> {
    let mut replaced = Vec::new();
    let mut members = object.members();
    while let Some((key, value)) = members.next() {
        let name = key_name(key);
        let found = sets.binary_search_by(|set| set.name.cmp(&name)).ok();
        if let Some(set) = found.and_then(|index| sets.get_mut(index)) {
            set.replaces = true;
            replaced.push((members.at() - value.len()..members.at(), set.value));
        }
    }
    replaced
}

/// The object's text with the replaced parts in place and `added` before its closing brace.
fn spliced(object: &RawObject, replaced: &[(Range<usize>, &str)], added: &[Set<'_>], room: usize) -> String {
    let text = object.as_str();
    let mut spliced = String::with_capacity(text.len() + room);
    let mut at = 0;
    for (part, value) in replaced {
        spliced.push_str(text.get(at..part.start).unwrap_or_default());
        spliced.push_str(value);
        at = part.end;
    }
    let rest = text.get(at..).unwrap_or_default();
    spliced.push_str(rest.strip_suffix('}').unwrap_or(rest));
    let mut comma = !object.is_empty();
    for set in added {
        if std::mem::replace(&mut comma, true) {
            spliced.push(',');
        }
        spliced.extend([set.key, ":", set.value]);
    }
    spliced.push('}');
    spliced
}
