//! An [`Entry`] as the fields of a Redis stream entry.
//!
//! Five fields of text that anyone can read with `redis-cli`; the others are left out when there is nothing to say. Fields of a newer version are ignored, so that hosts can be upgraded before workers.

use std::borrow::Cow;

use crate::{Entry, Failure, Log, ParseTimestampError, RawObject, UnknownLevel};

const FAILED_PLUGIN: &str = "failed_plugin";
const FAILED_ERROR: &str = "failed_error";

/// Why a stream entry is no [`Entry`]: somebody else wrote it. Retrying cannot help; bury it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A field that must be there is not.
    #[error("the entry has no field {0}: check who else writes to the stream")]
    Missing(&'static str),
    /// A field is not UTF-8.
    #[error("the entry's field {0} is not UTF-8: check who else writes to the stream")]
    Utf8(&'static str),
    /// `log_level` names no level.
    #[error("the entry's field log_level: {0}")]
    Level(#[from] UnknownLevel),
    /// `received_at` is no time.
    #[error("the entry's field received_at: {0}")]
    ReceivedAt(#[from] ParseTimestampError),
    /// `log_data` is not the text of an object.
    #[error("the entry's field log_data is not a JSON object: check who else writes to the stream")]
    LogData,
}

impl Entry {
    /// The fields in the order they are written: `device_id`, `log_level`, `message`, `log_data`, `received_at`,
    /// then `chain` and `traceparent` where there is one, `failed_plugin` and `failed_error` of a failure.
    pub fn to_fields(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let Log { device_id, log_level, message, log_data, received_at } = &self.log;
        let always = [
            ("device_id", Cow::Borrowed(device_id.as_str())),
            ("log_level", Cow::Borrowed(log_level.as_str())),
            ("message", Cow::Borrowed(message.as_str())),
            ("log_data", Cow::Borrowed(log_data.as_str())),
            ("received_at", Cow::Owned(received_at.to_string())),
        ];
        let chain = Some(self.chain.as_str()).filter(|chain| !chain.is_empty());
        let failure = self.failure.as_ref();
        let sometimes = [
            ("chain", chain),
            ("traceparent", self.traceparent.as_deref()),
            (FAILED_PLUGIN, failure.map(|failure| failure.plugin.as_str())),
            (FAILED_ERROR, failure.map(|failure| failure.error.as_str())),
        ];
        let sometimes = sometimes.into_iter().filter_map(|(name, text)| Some((name, Cow::Borrowed(text?))));
        always.into_iter().chain(sometimes)
    }

    /// Reads what [`Entry::to_fields`] wrote, in any order. `log_data` was checked by the host and is trusted.
    ///
    /// # Errors
    /// The first field that is missing or does not parse.
    pub fn from_fields<N, V>(fields: impl IntoIterator<Item = (N, V)>) -> Result<Self, WireError>
    where
        N: AsRef<[u8]>,
        V: Into<Vec<u8>>,
    {
        let mut texts = Texts::default();
        for (name, value) in fields {
            texts.put(name.as_ref(), value.into())?;
        }
        texts.entry()
    }
}

/// The fields as read so far.
#[derive(Default)]
struct Texts {
    device_id: Option<String>,
    log_level: Option<String>,
    message: Option<String>,
    log_data: Option<String>,
    received_at: Option<String>,
    chain: Option<String>,
    traceparent: Option<String>,
    failed_plugin: Option<String>,
    failed_error: Option<String>,
}

impl Texts {
    fn put(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), WireError> {
        let (slot, name) = match name {
            b"device_id" => (&mut self.device_id, "device_id"),
            b"log_level" => (&mut self.log_level, "log_level"),
            b"message" => (&mut self.message, "message"),
            b"log_data" => (&mut self.log_data, "log_data"),
            b"received_at" => (&mut self.received_at, "received_at"),
            b"chain" => (&mut self.chain, "chain"),
            b"traceparent" => (&mut self.traceparent, "traceparent"),
            b"failed_plugin" => (&mut self.failed_plugin, FAILED_PLUGIN),
            b"failed_error" => (&mut self.failed_error, FAILED_ERROR),
            _ => return Ok(()),
        };
        *slot = Some(String::from_utf8(value).map_err(|_| WireError::Utf8(name))?);
        Ok(())
    }

    fn entry(self) -> Result<Entry, WireError> {
        let log = Log {
            device_id: self.device_id.ok_or(WireError::Missing("device_id"))?,
            log_level: self.log_level.ok_or(WireError::Missing("log_level"))?.parse()?,
            message: self.message.ok_or(WireError::Missing("message"))?,
            log_data: log_data(self.log_data.ok_or(WireError::Missing("log_data"))?)?,
            received_at: self.received_at.ok_or(WireError::Missing("received_at"))?.parse()?,
        };
        let failure =
            self.failed_plugin.zip(self.failed_error).map(|(plugin, error)| Failure { plugin, error });
        Ok(Entry { log, chain: self.chain.unwrap_or_default(), traceparent: self.traceparent, failure })
    }
}

fn log_data(text: String) -> Result<RawObject, WireError> {
    let object = text.starts_with('{') && text.ends_with('}');
    object.then(|| RawObject::from_trusted(text)).ok_or(WireError::LogData)
}
