//! Appending once: one script looks for the key's record, appends and writes the record.
//!
//! A record is `digest LF runs-of-ids LF note`, under a key that lives for [`QueueSettings::once_ttl`] and has the
//! hash tag of its stream: on a cluster both are in one slot, as a script's keys must be.
//!
//! With several partitions the key chooses one, not the device: whoever comes again has only the key to look with. After
//! the count of partitions was changed, a key of before may choose another and is not found there.
//!
//! [`QueueSettings::once_ttl`]: crate::QueueSettings::once_ttl

use sawpit_model::Entry;

use super::Redis;
use super::node::Call;
use super::script::add_entries;
use crate::once::{Runs, hex};
use crate::{AppendError, Kept, Known, Once, OnceKey, QueueError};

impl Redis {
    pub(crate) async fn append_once(
        &self,
        once: &OnceKey,
        note: &[u8],
        entries: &[Entry],
    ) -> Result<Once, AppendError> {
        let part = self.part_of(&once.key)?;
        let stream = self.stream(part);
        let lives_ms = u64::try_from(self.settings.once_ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut call = self.scripts.once.call(2);
        call.arg(&stream).arg(record_key(&stream, once)).arg(lives_ms).arg(hex(&once.fingerprint)).arg(note);
        call.arg(part.argument());
        add_entries(&mut call, entries);
        let append = self.one_call(stream, call, self.scripts.once.load());
        let answer = self.admitted(entries.len() as u64, self.carry_out(&append)).await?;
        let (first, record): (bool, Vec<u8>) = redis::from_redis_value(answer)
            .map_err(|error| AppendError::Unknown { cause: error.to_string() })?;
        let known = read(&record, once).ok_or_else(|| AppendError::Unknown { cause: foreign() })?;
        Ok(match known {
            Known::Same(kept) if first => Once::First(kept.ids),
            known => Once::Known(known),
        })
    }

    pub(crate) async fn recall(&self, once: &OnceKey) -> Result<Option<Known>, QueueError> {
        let Ok(part) = self.part_of(&once.key) else { return Ok(None) };
        let stream = self.stream(part);
        let key = record_key(&stream, once);
        let asked = self.at_master(&key, Call::Command(redis::cmd("GET").arg(&key))).await;
        let known = known(asked.map_err(QueueError::unavailable)?, once)?;
        match known {
            Some(Known::Same(_)) if self.settings.min_replicas > 0 => {
                self.confirmed(stream, &key, once).await
            }
            known => Ok(known),
        }
    }

    /// The record once more, with a wait for replicas behind it. Whoever was first may have been told that nobody knows,
    /// and that a master which may be about to die has the record does not make it known.
    async fn confirmed(
        &self,
        stream: String,
        key: &str,
        once: &OnceKey,
    ) -> Result<Option<Known>, QueueError> {
        let mut call = self.scripts.recall.call(1);
        call.arg(key);
        let asked = self.one_call(stream, call, self.scripts.recall.load());
        let limit = self.settings.append_timeout;
        let answer = match tokio::time::timeout(limit, self.carry_out(&asked)).await {
            Ok(answer) => answer.map_err(QueueError::unconfirmed)?,
            Err(_) => return Err(QueueError::unconfirmed("no answer in time")),
        };
        known(redis::from_redis_value(answer).map_err(QueueError::unavailable)?, once)
    }
}

fn known(record: Option<Vec<u8>>, once: &OnceKey) -> Result<Option<Known>, QueueError> {
    match record.filter(|record| !record.is_empty()) {
        None => Ok(None),
        Some(record) => read(&record, once).map(Some).ok_or_else(|| QueueError::unavailable(foreign())),
    }
}

/// In the slot of the stream, and of no other stream that has the same hash tag.
fn record_key(stream: &str, once: &OnceKey) -> String {
    let key = &once.key;
    match hash_tag(stream) {
        tag if tag == stream => format!("idempotency:{{{tag}}}:{key}"),
        tag => format!("idempotency:{{{tag}}}:{stream}:{key}"),
    }
}

fn foreign() -> String {
    "the record of the idempotency key is of another form".to_owned()
}

fn read(record: &[u8], once: &OnceKey) -> Option<Known> {
    let mut parts = record.splitn(3, |byte| *byte == b'\n');
    let (digest, runs, note) = (parts.next()?, parts.next()?, parts.next()?);
    if digest != hex(&once.fingerprint).as_bytes() {
        return Some(Known::Other);
    }
    let runs: Runs = std::str::from_utf8(runs).ok()?.parse().ok()?;
    Some(Known::Same(Kept { note: note.to_vec(), ids: runs.ids() }))
}

/// The part of a key that decides its slot in a cluster: what is between the first `{` and the next `}`, if that is
/// not empty, else all of it. (Redis Cluster specification, hash tags)
fn hash_tag(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::super::part::slot;
    use super::*;

    #[test]
    fn a_record_lies_in_the_slot_of_its_stream() {
        let once = OnceKey { key: "a{b}".to_owned(), fingerprint: [1; 16] };
        for stream in ["logs:stream", "logs:stream:{3}", "{a}{b}"] {
            assert_eq!(slot(record_key(stream, &once).as_bytes()), slot(stream.as_bytes()), "{stream}");
        }
        assert_ne!(record_key("a:{3}", &once), record_key("b:{3}", &once));
        assert_eq!(hash_tag("logs:stream"), "logs:stream");
        assert_eq!(hash_tag("logs:stream:{3}"), "3");
        assert_eq!(hash_tag("{a}{b}"), "a");
        assert_eq!(hash_tag("odd{}"), "odd{}");
        assert_eq!(hash_tag("odd{"), "odd{");
    }

    #[test]
    fn a_record_is_read_and_what_is_none_is_refused() {
        let once = OnceKey { key: "k".to_owned(), fingerprint: [1; 16] };
        let digest = "01".repeat(16);
        let read = |text: String| read(text.as_bytes(), &once);
        let kept = Kept { note: b"a\nb".to_vec(), ids: vec!["5-7".parse().unwrap()] };
        assert_eq!(read(format!("{digest}\n5-7+1\na\nb")), Some(Known::Same(kept)));
        assert_eq!(read(format!("{}\n5-7+1\n", "02".repeat(16))), Some(Known::Other));
        assert_eq!(read(format!("{digest}\n5-7\n")), None);
        assert_eq!(read("something else".to_owned()), None);
    }
}
