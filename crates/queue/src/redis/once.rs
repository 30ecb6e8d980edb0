//! Appending once: one script looks for the key's record, appends and writes the record.
//!
//! A record is `digest LF runs-of-ids LF note`, under a key that lives for [`QueueSettings::once_ttl`] and has the
//! hash tag of its stream: on a cluster both are in one slot, as a script's keys must be.
//!
//! [`QueueSettings::once_ttl`]: crate::QueueSettings::once_ttl

use std::sync::LazyLock;

use redis::Script;
use sawpit_model::Entry;

use super::Redis;
use crate::once::{Runs, hex};
use crate::{AppendError, Kept, Known, Once, OnceKey, QueueError};

/// The record is written first, empty, which counts as none: who may not write it, or finds the memory full, is told so
/// before anything is appended, and after a script's first write Redis refuses no later one for its memory.
/// Keys: the stream, the record. Arguments: how long the record lives in ms, the digest, the note, then for each entry
/// how many texts follow, and these. Answers 1 and the record that it wrote, or 0 and the one that was there.
const APPEND_ONCE: &str = r"
local known = redis.call('GET', KEYS[2])
if known and known ~= '' then return {0, known} end
redis.call('SET', KEYS[2], '', 'PX', ARGV[1])
local runs, first, ms, seq, count = {}, nil, nil, nil, 0
local at = 4
while at <= #ARGV do
    local last = at + tonumber(ARGV[at])
    local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, last))
    local new_ms, new_seq = string.match(id, '^(%d+)-(%d+)$')
    new_seq = tonumber(new_seq)
    if first and new_ms == ms and new_seq == seq + 1 then
        count = count + 1
    else
        if first then runs[#runs + 1] = first .. '+' .. count end
        first, count = id, 1
    end
    ms, seq = new_ms, new_seq
    at = last + 1
end
if first then runs[#runs + 1] = first .. '+' .. count end
local record = ARGV[2] .. '\n' .. table.concat(runs, ',') .. '\n' .. ARGV[3]
redis.call('SET', KEYS[2], record, 'PX', ARGV[1])
return {1, record}
";

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(APPEND_ONCE));

impl Redis {
    pub(crate) async fn append_once(
        &self,
        once: &OnceKey,
        note: &[u8],
        entries: &[Entry],
    ) -> Result<Once, AppendError> {
        let mut call = SCRIPT.key(&self.settings.stream);
        let lives_ms = u64::try_from(self.settings.once_ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        call.key(self.record_key(once)).arg(lives_ms).arg(hex(&once.fingerprint)).arg(note);
        for entry in entries {
            // Name and value of each field.
            call.arg(entry.to_fields().count() * 2);
            for (name, value) in entry.to_fields() {
                call.arg(name).arg(value.as_bytes());
            }
        }
        let append = self.appending(async |connection| call.invoke_async(connection).await);
        let (first, record): (bool, Vec<u8>) = self.admitted(entries.len() as u64, append).await?;
        let known = read(&record, once).ok_or_else(|| AppendError::Unknown { cause: foreign() })?;
        Ok(match known {
            Known::Same(kept) if first => Once::First(kept.ids),
            known => Once::Known(known),
        })
    }

    pub(crate) async fn recall(&self, once: &OnceKey) -> Result<Option<Known>, QueueError> {
        let record: Option<Vec<u8>> = self.command(redis::cmd("GET").arg(self.record_key(once))).await?;
        match record.filter(|record| !record.is_empty()) {
            None => Ok(None),
            Some(record) => read(&record, once).map(Some).ok_or_else(|| QueueError::unavailable(foreign())),
        }
    }

    fn record_key(&self, once: &OnceKey) -> String {
        format!("idempotency:{{{}}}:{}", hash_tag(&self.settings.stream), once.key)
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
    use super::*;

    #[test]
    fn a_record_lies_in_the_slot_of_its_stream() {
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
