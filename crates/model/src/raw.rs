//! A JSON object kept as text.
//!
//! It is checked once, when it is made of untrusted text, and never serialised again: reading it back, writing
//! it as JSON and patching it only copy the text.

use std::borrow::Cow;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Limits;
use crate::check::Checker;
use crate::scan::{Members, syntax};
use crate::text::unescape;

/// Under this name a struct's only field is written by serde_json as it is. It is what [`serde_json::value::RawValue`]
/// uses; going through that type would parse the text again. A test holds it to be true.
const VERBATIM: &str = "$serde_json::private::RawValue";

/// The text of one JSON object that was checked: well-formed, without NUL, lone surrogates or duplicate
/// keys, its numbers and its depth and size within [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawObject(Box<str>);

/// Why a text cannot be `log_data`. The messages are rules for the sender; `at` is a byte offset in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RawObjectError {
    /// Not JSON.
    #[error("must be valid JSON: {0}")]
    Syntax(String),
    /// JSON, but not an object.
    #[error("must be an object, not {found}")]
    NotAnObject {
        /// What it is instead, as in `an array`.
        found: &'static str,
    },
    /// Longer than [`Limits::log_data_bytes`].
    #[error("must be at most {limit} bytes of JSON text, but has {bytes}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nested deeper than [`Limits::log_data_depth`].
    #[error("must nest at most {limit} objects and arrays in each other")]
    TooDeep {
        /// The limit; `{}` has depth 1.
        limit: usize,
    },
    /// A key or string holds `\u0000`.
    #[error("must not contain NUL (\\u0000), as at byte {at} of its text")]
    Nul {
        /// Where the escape is.
        at: usize,
    },
    /// A key or string holds half of a surrogate pair.
    #[error(
        "must not contain half of a surrogate pair (\\ud800 to \\udfff alone), as at byte {at} of its text"
    )]
    LoneSurrogate {
        /// Where the escape is.
        at: usize,
    },
    /// A number's text is longer than [`Limits::number_bytes`].
    #[error(
        "must not contain a number of more than {limit} bytes; the one at byte {at} of its text has {bytes}"
    )]
    NumberTooLong {
        /// Where the number begins.
        at: usize,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// No 64-bit float holds the number.
    #[error(
        "must not contain a number beyond a 64-bit float (1.8e308, exponents -324 to 308), as at byte {at} of its text"
    )]
    NumberRange {
        /// Where the number begins.
        at: usize,
    },
}

impl RawObject {
    /// Checks `text`. White space inside it and the order of its members are kept; of members with the same
    /// key, at any depth, the last stays.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, RawObjectError> {
        let value = syntax(text).map_err(|fault| {
            RawObjectError::Syntax(format!("{} at line {} column {}", fault.reason, fault.line, fault.column))
        })?;
        Self::of_valid(value, limits, &mut Checker::default())
    }

    /// Checks a text that is known to be valid JSON without white space around it.
    pub(crate) fn of_valid(
        json: &str,
        limits: &Limits,
        checker: &mut Checker,
    ) -> Result<Self, RawObjectError> {
        checker.check(json, limits).map(|text| Self(text.into()))
    }

    /// Takes text that was checked before, as read back from the queue or the database.
    #[must_use]
    pub fn from_trusted(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The object's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself, without a copy.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into()
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members().next().is_none()
    }

    /// The top-level members in order: each key's JSON text, with its quotes, and each value's.
    #[must_use]
    pub const fn members(&self) -> Members<'_> {
        Members::new(&self.0)
    }

    /// The JSON text of the top-level member named `key` (the name itself: no quotes, no escapes).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members().find_map(|(raw, value)| (key_name(raw) == key).then_some(value))
    }
}

/// The name that a key's checked JSON text stands for.
pub(crate) fn key_name(raw: &str) -> Cow<'_, str> {
    unescape(raw).unwrap_or(Cow::Borrowed(raw))
}

impl Default for RawObject {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl std::fmt::Display for RawObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RawObject {
    /// As JSON: the object itself. In binary forms: its text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let mut verbatim = serializer.serialize_struct(VERBATIM, 1)?;
            verbatim.serialize_field(VERBATIM, &*self.0)?;
            verbatim.end()
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RawObject {
    /// Trusts the text, as [`RawObject::from_trusted`] does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
            if !raw.get().starts_with('{') {
                return Err(serde::de::Error::custom("expected a JSON object"));
            }
            Ok(Self(raw.into()))
        } else {
            Box::<str>::deserialize(deserializer).map(Self)
        }
    }
}
