//! Reading the partitions of one server, over a connection of its own.
//!
//! A server that comes back, or a replica that took over, may have lost the end of what it was told, and then delivers
//! as new what was delivered, stored and acknowledged before. Whoever read it then loses its connection. So what was
//! in a stream when a connection was made is doubtful: the ledger is asked whether it is stored. What came later is new.
//!
//! Nor does such a server know what another worker was given and has not stored yet, and may give it to us. So nothing
//! is read from a server before the owner of the consumer has heard of it, and could fence everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, Value};
use sawpit_model::MessageId;

use super::Redis;
use super::node::Node;
use super::part::Part;
use super::reply::{self, StreamEntry};

/// How much longer than it blocks a read may take before the connection counts as lost.
const READ_MARGIN: Duration = Duration::from_secs(5);
/// A server that failed is not asked for this long, while others can be.
const AWAY: Duration = Duration::from_secs(1);

/// Reads from one server.
pub(super) struct Reader {
    pub(super) node: Arc<Node>,
    pub(super) parts: Vec<Part>,
    open: Option<Open>,
    away_until: Option<Instant>,
}

struct Open {
    connection: MultiplexedConnection,
    incarnation: String,
    /// The last id that each stream had given when we came.
    met: BTreeMap<Part, MessageId>,
    /// Where we may read.
    let_in: BTreeSet<Part>,
}

/// Whom we read for.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) redis: &'a Redis,
    pub(super) name: &'a str,
}

/// Whether somebody must hear of a server before anything is read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    Nobody,
    TheConsumersOwner,
}

/// A new message.
pub(super) struct New {
    pub(super) part: Part,
    pub(super) entry: StreamEntry,
    /// Whether it may have been settled before.
    pub(super) doubtful: bool,
}

impl Reader {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, parts: Vec::new(), open: None, away_until: None }
    }

    /// What was met in a partition that was elsewhere meanwhile says nothing any more.
    pub(super) fn assign(&mut self, parts: Vec<Part>) {
        if let Some(open) = &mut self.open {
            open.met.retain(|part, _| parts.contains(part));
            open.let_in.retain(|part| parts.contains(part));
        }
        self.parts = parts;
    }

    pub(super) fn is_away(&self) -> bool {
        self.away_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn set_away(&mut self) {
        self.away_until = Some(Instant::now() + AWAY);
    }

    /// Whether it may not be read from, or not from all of its partitions, until somebody has heard of it.
    pub(super) fn is_strange(&self, guard: Guard) -> bool {
        let let_in = |open: &Open| self.parts.iter().all(|part| open.let_in.contains(part));
        guard == Guard::TheConsumersOwner && !self.open.as_ref().is_some_and(let_in)
    }

    /// Connects where there is no connection, and says whom it met for which partitions that it may not read yet.
    pub(super) async fn meet(
        &mut self,
        reading: Reading<'_>,
    ) -> Result<Option<(String, Vec<Part>)>, RedisError> {
        let open = self.take_open(reading).await?;
        let strange: Vec<Part> =
            self.parts.iter().filter(|part| !open.let_in.contains(part)).copied().collect();
        let met = (!strange.is_empty()).then(|| (open.incarnation.clone(), strange));
        self.open = Some(open);
        Ok(met)
    }

    /// Somebody has heard of this server.
    pub(super) fn let_in(&mut self, part: Part, incarnation: &str) {
        if let Some(open) = self.open.as_mut().filter(|open| open.incarnation == incarnation) {
            open.let_in.insert(part);
        }
    }

    /// The next call connects anew, and meets whoever is there then.
    pub(super) fn disconnect(&mut self) {
        self.open = None;
    }

    /// Up to `each` new messages of each of these partitions; waits for a first one when `block` is given, which a
    /// cluster does not allow. What some partitions gave is not given up for the error of another.
    pub(super) async fn read(
        &mut self,
        reading: Reading<'_>,
        parts: &[Part],
        each: usize,
        block: Option<Duration>,
    ) -> (Vec<New>, Option<RedisError>) {
        let mut open = match self.take_open(reading).await {
            Ok(open) => open,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let commands = reads(reading, parts, each, block);
        let sent = open.connection.req_packed_commands(&commands, 0, commands.len());
        let answers = match tokio::time::timeout(block.unwrap_or_default() + reading.margin(), sent).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return (Vec::new(), Some(error)),
            Err(_) => return (Vec::new(), Some(late())),
        };
        let (mut found, mut failed) = (Vec::new(), None);
        for answer in answers {
            match open.news(reading, parts, answer) {
                Ok(news) => found.extend(news),
                Err(error) => failed = Some(error),
            }
        }
        if failed.is_none() {
            self.open = Some(open);
        }
        (found, failed)
    }

    /// Runs a command on the reader's own connection. After an error, or when it is dropped meanwhile, a new one is
    /// made next time, and what it then meets is doubtful.
    pub(super) async fn run(
        &mut self,
        reading: Reading<'_>,
        command: &Cmd,
        waits: Duration,
    ) -> Result<Value, RedisError> {
        let mut open = self.take_open(reading).await?;
        let limit = waits + reading.margin();
        let answer = match tokio::time::timeout(limit, command.query_async(&mut open.connection)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(late()),
        };
        self.open = Some(open);
        Ok(answer)
    }

    async fn take_open(&mut self, reading: Reading<'_>) -> Result<Open, RedisError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut connection = self.connect(reading).await?;
                let incarnation = incarnation(&mut connection, reading).await?;
                Open { connection, incarnation, met: BTreeMap::new(), let_in: BTreeSet::new() }
            }
        };
        let unmet: Vec<Part> =
            self.parts.iter().filter(|part| !open.met.contains_key(part)).copied().collect();
        if !unmet.is_empty() {
            open.meet(reading, &unmet).await?;
        }
        Ok(open)
    }

    async fn connect(&self, reading: Reading<'_>) -> Result<MultiplexedConnection, RedisError> {
        let settings = &reading.redis.settings;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.append_timeout))
            .set_response_timeout(Some(settings.block + READ_MARGIN));
        self.node.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl Open {
    /// Makes the groups of these partitions where there are none, and notes where their streams are.
    async fn meet(&mut self, reading: Reading<'_>, parts: &[Part]) -> Result<(), RedisError> {
        let settings = &reading.redis.settings;
        let mut commands = Pipeline::new();
        for part in parts {
            let stream = part.key(&settings.stream);
            commands.cmd("XGROUP").arg("CREATE").arg(&stream).arg(&settings.group).arg("0").arg("MKSTREAM");
            commands.cmd("XINFO").arg("STREAM").arg(&stream);
        }
        let sent = self.connection.req_packed_commands(&commands, 0, commands.len());
        let answers = tokio::time::timeout(reading.margin(), sent).await.map_err(|_| late())??;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil).extract_error();
        for part in parts {
            match next() {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(error),
                _ => {}
            }
            self.met.insert(*part, reply::last_generated_id(next()?).ok_or_else(other_form)?);
        }
        Ok(())
    }
}

impl Open {
    /// The messages in an answer.
    fn news(&self, reading: Reading<'_>, parts: &[Part], answer: Value) -> Result<Vec<New>, RedisError> {
        let streams = reply::read(answer.extract_error()?).ok_or_else(other_form)?;
        let mut found = Vec::new();
        for (name, entries) in streams {
            let is_its = |part: &&Part| reading.redis.stream(**part).as_bytes() == name;
            let part = parts.iter().find(is_its).copied().ok_or_else(other_form)?;
            let met = self.met.get(&part).copied().unwrap_or(MessageId::MAX);
            found.extend(entries.into_iter().map(|entry| New { part, doubtful: entry.id <= met, entry }));
        }
        Ok(found)
    }
}

/// What tells the server's present life from others: the process by its run id, and a replica that took over by the id of
/// its replication, which changes then.
async fn incarnation(
    connection: &mut MultiplexedConnection,
    reading: Reading<'_>,
) -> Result<String, RedisError> {
    let mut ask = Pipeline::new();
    ask.cmd("INFO").arg("server");
    ask.cmd("INFO").arg("replication");
    let asked = ask.query_async::<(String, String)>(connection);
    let (server, replication) = tokio::time::timeout(reading.margin(), asked).await.map_err(|_| late())??;
    let process = reply::fact(&server, "run_id").ok_or_else(other_form)?;
    let history = reply::fact(&replication, "master_replid").ok_or_else(other_form)?;
    Ok(format!("{process}:{history}"))
}

/// One command for all when it waits; else one for each, because in a cluster they are in several slots.
fn reads(reading: Reading<'_>, parts: &[Part], each: usize, block: Option<Duration>) -> Pipeline {
    let settings = &reading.redis.settings;
    let mut commands = Pipeline::new();
    let together = if block.is_some() { parts.len() } else { 1 };
    for parts in parts.chunks(together.max(1)) {
        let command = commands.cmd("XREADGROUP").arg("GROUP").arg(&settings.group).arg(reading.name);
        command.arg("COUNT").arg(each);
        if let Some(block) = block {
            command.arg("BLOCK").arg(millis(block).max(1));
        }
        command.arg("STREAMS");
        for part in parts {
            command.arg(reading.redis.stream(*part));
        }
        for _ in parts {
            command.arg(">");
        }
    }
    commands
}

impl Reading<'_> {
    /// Of several servers one that is stuck must not hold up the others for long.
    fn margin(&self) -> Duration {
        if self.redis.servers.is_cluster() { self.redis.settings.append_timeout } else { READ_MARGIN }
    }
}

fn late() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
}

pub(super) fn other_form() -> RedisError {
    (ErrorKind::Parse, "an answer of another form").into()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
