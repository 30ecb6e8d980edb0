//! Appending, within the backlog's limit and a time-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Cmd, ErrorKind, Pipeline, RedisError, Value};
use sawpit_model::{Entry, MessageId};

use super::estimate::UnderWay;
use super::node::{Call, Node};
use super::part::Part;
use super::reader::{millis, other_form};
use super::script::add_entries;
use super::servers::Next;
use super::{Redis, reply};
use crate::AppendError;

/// Age at which the estimate of the backlog is asked for anew: what other producers append meanwhile is all
/// that can go over the limit.
const ESTIMATE_MS: u64 = 100;

/// What Redis says is cut to this many characters.
const CAUSE_CHARS: usize = 300;

/// Of an append's time, half is for its replicas: the rest is for the append itself.
const REPLICAS_PART: u32 = 2;

/// What is sent for an append.
pub(super) struct Append {
    stream: String,
    commands: Pipeline,
    /// Which of the answers is that of the append.
    answer: usize,
    /// Makes its script known, if it is one.
    load: Option<Cmd>,
}

impl Redis {
    pub(crate) async fn append(&self, entry: Entry) -> Result<MessageId, AppendError> {
        let ids = self.append_batch(&[entry]).await?;
        ids.first().copied().ok_or_else(no_id)
    }

    /// All or none, so all to one partition: that of the first device. Partitions may be on several servers, and
    /// these have no transactions together.
    pub(crate) async fn append_batch(&self, entries: &[Entry]) -> Result<Vec<MessageId>, AppendError> {
        let Some(first) = entries.first() else { return Ok(Vec::new()) };
        let part = self.part_of(&first.log.device_id)?;
        let append = self.appending(part, entries);
        let ids = ids(self.admitted(entries.len() as u64, self.carry_out(&append)).await?)?;
        if ids.len() == entries.len() { Ok(ids) } else { Err(no_id()) }
    }

    /// Where what has this name goes: a device, or a request that is to be carried out once.
    pub(super) fn part_of(&self, name: &str) -> Result<Part, AppendError> {
        match self.own_count() {
            0 if self.servers.is_cluster() => {
                Err(AppendError::Refused { cause: "the count of partitions is not set".to_owned() })
            }
            0 => Ok(Part::PLAIN),
            count => Ok(Part::of_device(name, count)),
        }
    }

    fn appending(&self, part: Part, entries: &[Entry]) -> Append {
        let stream = self.stream(part);
        let mut commands = Pipeline::with_capacity(entries.len() + 3);
        if !part.is_plain() {
            let mut call = self.scripts.append.call(1);
            call.arg(&stream).arg(part.argument());
            add_entries(&mut call, entries);
            return self.one_call(stream, call, self.scripts.append.load());
        }
        let alone = entries.len() == 1;
        if !alone {
            commands.cmd("MULTI");
        }
        for entry in entries {
            let command = commands.cmd("XADD").arg(&stream).arg("*");
            for (name, value) in entry.to_fields() {
                command.arg(name).arg(value.as_bytes());
            }
        }
        if !alone {
            commands.cmd("EXEC");
        }
        self.replicated(Append { stream, answer: commands.len().saturating_sub(1), commands, load: None })
    }

    /// An append that is one call of a script.
    pub(super) fn one_call(&self, stream: String, call: Cmd, load: Cmd) -> Append {
        let mut commands = Pipeline::with_capacity(2);
        commands.add_command(call);
        self.replicated(Append { stream, commands, answer: 0, load: Some(load) })
    }

    /// With the wait for replicas behind it, where there is to be one.
    fn replicated(&self, mut append: Append) -> Append {
        if self.settings.min_replicas > 0 {
            let limit = self.settings.append_timeout / REPLICAS_PART;
            append.commands.cmd("WAIT").arg(self.settings.min_replicas).arg(millis(limit).max(1));
        }
        append
    }

    /// Sends it; to another server, or once more, only when surely nothing was appended. The answer to the append.
    pub(super) async fn carry_out(&self, append: &Append) -> Result<Value, AppendError> {
        for last in [false, false, true] {
            // Nobody is asked when there is no master.
            let node = self.servers.master(&append.stream).map_err(|error| refused(&error))?;
            let wanted = self.settings.min_replicas;
            node.admit(wanted, &append.stream).await?;
            let error = match self.send(&node, append).await {
                Ok(answers) => {
                    if wanted > 0 {
                        node.confirm(wanted, answers.last())?;
                    }
                    return answers.into_iter().nth(append.answer).ok_or_else(no_id);
                }
                Err(error) if last => return Err(append_error(&error)),
                Err(error) => error,
            };
            if let (Some("NOSCRIPT"), Some(load)) = (error.code(), &append.load) {
                node.call::<()>(Call::Command(load)).await.map_err(|error| refused(&error))?;
            } else if self.servers.heed(&error).await == Next::GiveUp {
                return Err(append_error(&error));
            }
        }
        Err(no_id())
    }

    /// The answers; an error when the append itself was answered with one.
    async fn send(&self, node: &Arc<Node>, append: &Append) -> Result<Vec<Value>, RedisError> {
        let answers = node.send(&append.commands).await?;
        match answers.get(append.answer) {
            Some(Value::ServerError(_)) => {
                // Of a transaction, the first that was refused says why.
                let refused = answers.into_iter().find(|answer| matches!(answer, Value::ServerError(_)));
                Err(refused.and_then(|answer| answer.extract_error().err()).unwrap_or_else(other_form))
            }
            _ => Ok(answers),
        }
    }

    /// Looks at the backlog, then appends, both within the one time-out.
    pub(super) async fn admitted<T>(
        &self,
        messages: u64,
        append: impl Future<Output = Result<T, AppendError>>,
    ) -> Result<T, AppendError> {
        let begun = AtomicBool::new(false);
        let steps = async {
            let _under_way = self.admit(messages).await?;
            begun.store(true, Ordering::Relaxed);
            append.await
        };
        let cause = "no answer in time".to_owned();
        match tokio::time::timeout(self.settings.append_timeout, steps).await {
            Ok(ended) => ended,
            Err(_) if begun.into_inner() => Err(AppendError::Unknown { cause }),
            Err(_) => Err(AppendError::Refused { cause }),
        }
    }

    /// Refuses at the backlog's limit. The estimate counts what was appended here, and is asked for anew when it
    /// is old, and before anything is refused.
    async fn admit(&self, messages: u64) -> Result<UnderWay<'_>, AppendError> {
        let limit = self.settings.backlog_limit;
        if !self.is_old(&self.estimate_until, ESTIMATE_MS)
            && let Some(under_way) = self.estimate.let_in(messages, limit)
        {
            return Ok(under_way);
        }
        self.backlog().await.map_err(|error| AppendError::Refused { cause: error.to_string() })?;
        self.estimate.let_in(messages, limit).ok_or(AppendError::Full { limit })
    }
}

fn refused(error: &RedisError) -> AppendError {
    AppendError::Refused { cause: error.to_string() }
}

/// A reply that says no means that nothing was appended, and so does a connection that was refused. Of
/// everything else nobody knows.
fn append_error(error: &RedisError) -> AppendError {
    // A transaction's error names each of its commands.
    let cause: String = error.to_string().chars().take(CAUSE_CHARS).collect();
    let said_no = error.code().is_some();
    if said_no || error.is_connection_refusal() || error.kind() == ErrorKind::AuthenticationFailed {
        AppendError::Refused { cause }
    } else {
        AppendError::Unknown { cause }
    }
}

/// The ids that an append was answered with.
fn ids(answer: Value) -> Result<Vec<MessageId>, AppendError> {
    let one = |answer: Value| match answer {
        Value::BulkString(id) => reply::id(&id),
        _ => None,
    };
    let found = match answer {
        Value::Array(ids) => ids.into_iter().map(one).collect::<Option<Vec<_>>>(),
        answer => one(answer).map(|id| vec![id]),
    };
    found.ok_or_else(no_id)
}

fn no_id() -> AppendError {
    AppendError::Unknown { cause: "Redis gave no id".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(wire: &str) -> AppendError {
        let answer = redis::parse_redis_value(wire.as_bytes()).and_then(Value::extract_error);
        append_error(&answer.expect_err("an error"))
    }

    /// Whatever Redis says in the place of an id, it has appended nothing.
    #[test]
    fn a_no_is_a_refusal() {
        let no = [
            "-OOM command not allowed when used memory > 'maxmemory'.",
            "-LOADING Redis is loading the dataset in memory",
            "-MISCONF Errors writing to the AOF file: No space left on device",
            "-READONLY You can't write against a read only replica.",
            "-EXECABORT Transaction discarded because of previous errors.",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
            "-NOAUTH Authentication required.",
            "-NOPERM this user has no permissions to run the 'xadd' command",
            "-BUSY Redis is busy running a script.",
            "-ERR max number of clients reached",
        ];
        for wire in no {
            let error = said(&format!("{wire}\r\n"));
            assert!(matches!(error, AppendError::Refused { .. }), "{wire}: {error:?}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_it_unknown_and_a_refused_one_does_not() {
        use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof};
        for kind in [BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof] {
            let error = append_error(&std::io::Error::from(kind).into());
            assert!(matches!(error, AppendError::Unknown { .. }), "{kind}: {error:?}");
        }
        let error = append_error(&std::io::Error::from(ConnectionRefused).into());
        assert!(matches!(error, AppendError::Refused { .. }), "{error:?}");
    }
}
