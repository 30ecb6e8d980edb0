//! A JSON object kept as text.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text of one JSON object that was checked: well-formed, without NUL, lone surrogates or duplicate
/// keys, within the depth and size limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawObject(Box<str>);

/// Why a text cannot be `log_data`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RawObjectError {
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// JSON, but not an object.
    #[error("must be a JSON object")]
    NotAnObject,
}

impl RawObject {
    /// The object's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes text that was checked before, as read back from the queue or the database.
    #[must_use]
    pub fn from_trusted(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }
}

impl Default for RawObject {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl Serialize for RawObject {
    /// As JSON: the object itself. In binary forms: its text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let raw: &serde_json::value::RawValue =
                serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
            raw.serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
            Ok(Self(raw.get().into()))
        } else {
            Box::<str>::deserialize(deserializer).map(Self)
        }
    }
}
