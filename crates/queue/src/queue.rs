//! The contract, whichever backend is behind it.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use sawpit_model::{Entry, MessageId};

use crate::embedded::{self, Embedded};
use crate::redis::{self, Redis};
use crate::{
    AppendError, Clock, DeadLetter, DeadReason, Delivery, Known, Once, OnceKey, OpenError, QueueError,
    QueueSettings, ReadError, Reclaimed,
};

/// A queue; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Redis(Arc<Redis>),
    Embedded(Arc<Embedded>),
}

/// Appends messages; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Producer(Backend);

/// Reads messages, under a name of its own.
#[derive(Debug)]
pub struct Consumer(Reader);

/// A server of the queue that a guarded [`Consumer`] met and reads nothing from yet.
#[derive(Clone, Debug)]
pub struct Stranger(redis::Stranger);

/// Messages whose owner is silent, found by [`Consumer::silent`] and not taken yet.
#[derive(Debug)]
pub struct Silent(Option<redis::Silent>);

/// Keeps what a consumer has in hand; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Keeper(Option<redis::Keeper>);

#[derive(Debug)]
enum Reader {
    Redis(redis::Consumer),
    Embedded(embedded::Consumer),
}

/// Settles deliveries; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Settler(Backend);

impl Queue {
    /// Opens the queue that `settings.url` names. `clock` gives the embedded queue its ids; Redis has its own.
    ///
    /// # Errors
    /// When it cannot be reached or its file cannot be used; nothing was changed then.
    pub async fn open(settings: QueueSettings, clock: Clock) -> Result<Self, OpenError> {
        if settings.url.starts_with("redis") && settings.url.contains(':') {
            return Ok(Self(Backend::Redis(Arc::new(Redis::open(settings).await?))));
        }
        if settings.url.contains("://") {
            let why = "no queue is known by this scheme".to_owned();
            return Err(OpenError::Url { url: redis::shown(&settings.url), why });
        }
        Ok(Self(Backend::Embedded(Arc::new(Embedded::open(settings, clock).await?))))
    }

    /// Appends through this.
    #[must_use]
    pub fn producer(&self) -> Producer {
        Producer(self.0.clone())
    }

    /// A consumer of this name. Two that run at a time must not share a name.
    ///
    /// # Errors
    /// The queue is away.
    pub async fn consumer(&self, name: &str) -> Result<Consumer, QueueError> {
        let reader = match &self.0 {
            Backend::Redis(redis) => Reader::Redis(redis::Consumer::open(Arc::clone(redis), name).await?),
            Backend::Embedded(file) => Reader::Embedded(embedded::Consumer::new(Arc::clone(file), name)),
        };
        Ok(Consumer(reader))
    }

    /// Messages that are not settled yet, delivered ones included.
    ///
    /// # Errors
    /// The queue is away.
    pub async fn backlog(&self) -> Result<u64, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.backlog().await,
            Backend::Embedded(file) => Ok(file.backlog()),
        }
    }

    /// The id of the oldest message that is not settled yet, delivered ones included: what is older cannot be delivered
    /// any more, unless the queue loses what it was told. None when there is no message.
    ///
    /// # Errors
    /// The queue, or a part of it, is away.
    pub async fn oldest(&self) -> Result<Option<MessageId>, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.oldest().await,
            Backend::Embedded(file) => file.oldest().await,
        }
    }

    /// How many messages were ever settled, counted from any time on: the difference of two answers is how many left in
    /// between. None where the queue does not know (Redis before 7.0).
    ///
    /// # Errors
    /// The queue is away, or was never used.
    pub async fn left(&self) -> Result<Option<u64>, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.left().await,
            Backend::Embedded(file) => Ok(Some(file.left())),
        }
    }

    /// Forgets consumers that have nothing in hand and were given nothing this long; how many. Safe at any time: one that
    /// lives after all is known again with its next message. The embedded queue remembers none.
    ///
    /// # Errors
    /// The queue is away.
    pub async fn forget_consumers(&self, idle: Duration) -> Result<u64, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.forget_consumers(idle).await,
            Backend::Embedded(_) => Ok(0),
        }
    }

    /// Whether the queue answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.ping().await,
            Backend::Embedded(file) => file.ping(),
        }
    }

    /// `redis`, which a cluster is as well, or `embedded`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.0 {
            Backend::Redis(_) => "redis",
            Backend::Embedded(_) => "embedded",
        }
    }

    /// How many dead letters there are.
    ///
    /// # Errors
    /// The queue is away.
    pub async fn dead_count(&self) -> Result<u64, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.dead_count().await,
            Backend::Embedded(file) => file.dead_count().await,
        }
    }

    /// Up to `count` dead letters after `after`, oldest first.
    ///
    /// # Errors
    /// The queue is away.
    pub async fn dead_list(
        &self,
        after: Option<MessageId>,
        count: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        self.dead_from(after.map_or_else(MessageId::default, MessageId::next), count).await
    }

    async fn dead_from(&self, first: MessageId, count: usize) -> Result<Vec<DeadLetter>, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.dead_list(first, count).await,
            Backend::Embedded(file) => file.dead_list(first, count).await,
        }
    }

    /// One dead letter.
    ///
    /// # Errors
    /// There is none of this id, or the queue is away.
    pub async fn dead_show(&self, id: MessageId) -> Result<DeadLetter, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.dead_show(id).await,
            Backend::Embedded(file) => {
                let found = file.dead_list(id, 1).await?.into_iter().find(|letter| letter.id == id);
                found.ok_or(QueueError::NoSuchLetter { id })
            }
        }
    }

    /// Puts a dead letter back into the queue, as a new message, in one step. Its new id.
    ///
    /// # Errors
    /// There is none of this id, it holds no log, or the queue is away.
    pub async fn dead_replay(&self, id: MessageId) -> Result<MessageId, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.dead_replay(id).await,
            Backend::Embedded(file) => file.dead_replay(id).await,
        }
    }

    /// Deletes a dead letter.
    ///
    /// # Errors
    /// There is none of this id, or the queue is away.
    pub async fn dead_purge(&self, id: MessageId) -> Result<(), QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.dead_purge(id).await,
            Backend::Embedded(file) => file.dead_purge(id).await,
        }
    }
}

impl Producer {
    /// Appends one message; answers its id once the queue has it.
    ///
    /// # Errors
    /// It was not confirmed; the variant says whether it may have been appended.
    pub async fn append(&self, entry: Entry) -> Result<MessageId, AppendError> {
        let started = Instant::now();
        let appended = match &self.0 {
            Backend::Redis(redis) => redis.append(entry).await,
            Backend::Embedded(file) => file.append_batch(&[entry]).await.and_then(|ids| first(&ids)),
        };
        measure(started, 1, outcome(appended.as_ref().err()));
        appended
    }

    /// Appends all of them, in order, or none; answers their ids once the queue has them.
    ///
    /// # Errors
    /// They were not confirmed; the variant says whether they may have been appended.
    pub async fn append_batch(&self, entries: Vec<Entry>) -> Result<Vec<MessageId>, AppendError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let appended = match &self.0 {
            Backend::Redis(redis) => redis.append_batch(&entries).await,
            Backend::Embedded(file) => file.append_batch(&entries).await,
        };
        measure(started, entries.len(), outcome(appended.as_ref().err()));
        appended
    }

    /// Appends all of them, in order, or none, unless that was done before under this key, by whichever producer: then
    /// nothing is appended, and what is known of the key is answered. `note` is kept with the key, for whoever comes
    /// again. The entries may be none; the note is kept all the same.
    ///
    /// The key is remembered in the same step, for [`QueueSettings::once_ttl`] at most: after an error that leaves it
    /// unknown, calling again with the same key cannot append twice.
    ///
    /// # Errors
    /// They were not confirmed; the variant says whether they may have been appended.
    pub async fn append_once(
        &self,
        once: &OnceKey,
        note: Vec<u8>,
        entries: Vec<Entry>,
    ) -> Result<Once, AppendError> {
        let started = Instant::now();
        let appended = match &self.0 {
            Backend::Redis(redis) => redis.append_once(once, &note, &entries).await,
            Backend::Embedded(file) => file.append_once(once, note, &entries).await,
        };
        let appended = match appended {
            // There need be no room for what is there already.
            Err(AppendError::Full { limit }) => match self.recall(once).await {
                Ok(Some(known)) => Ok(Once::Known(known)),
                _ => Err(AppendError::Full { limit }),
            },
            appended => appended,
        };
        let known = matches!(appended, Ok(Once::Known(_)));
        measure(started, entries.len(), if known { "known" } else { outcome(appended.as_ref().err()) });
        appended
    }

    /// What is known of a key. A first append may be under way that is not known yet: only
    /// [`Producer::append_once`] decides.
    ///
    /// # Errors
    /// The queue is away, or too few replicas have what the key stands for.
    pub async fn recall(&self, once: &OnceKey) -> Result<Option<Known>, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.recall(once).await,
            Backend::Embedded(file) => file.recall(once).await,
        }
    }
}

fn first(ids: &[MessageId]) -> Result<MessageId, AppendError> {
    ids.first().copied().ok_or_else(|| AppendError::Unknown { cause: "the queue gave no id".to_owned() })
}

fn outcome(error: Option<&AppendError>) -> &'static str {
    match error {
        None => "queued",
        Some(AppendError::Full { .. }) => "full",
        Some(AppendError::Refused { .. }) => "refused",
        Some(AppendError::Unknown { .. }) => "unknown",
    }
}

fn measure(started: Instant, messages: usize, outcome: &'static str) {
    metrics::counter!("sawpit_queue_append_total", "outcome" => outcome).increment(messages as u64);
    metrics::histogram!("sawpit_queue_append_seconds").record(started.elapsed().as_secs_f64());
}

impl Stranger {
    /// Name of the stream that it serves.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.0.stream
    }

    /// Differs between servers, between the lives of one, and when a replica takes over.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        &self.0.incarnation
    }
}

impl Consumer {
    /// From now on nothing is read from a server before [`Consumer::let_in`] was told of it. A server that restarted
    /// without the end of its file, or a replica that took over, may give what others have in hand; whoever lets it in
    /// sees to it that they cannot store that any more.
    #[must_use]
    pub fn guarded(mut self) -> Self {
        match &mut self.0 {
            Reader::Redis(consumer) => consumer.set_guard(),
            // It is in one process with all who read from it, so nothing comes between.
            Reader::Embedded(_) => {}
        }
        self
    }

    /// Connects where it must, and says which servers are to be let in.
    ///
    /// # Errors
    /// The queue is away; wait and ask again.
    pub async fn strangers(&mut self) -> Result<Vec<Stranger>, ReadError> {
        match &mut self.0 {
            Reader::Redis(consumer) => Ok(consumer.strangers().await?.into_iter().map(Stranger).collect()),
            Reader::Embedded(_) => Ok(Vec::new()),
        }
    }

    /// Reads from these servers from now on, for as long as the connections last that met them.
    pub fn let_in(&mut self, strangers: Vec<Stranger>) {
        match &mut self.0 {
            Reader::Redis(consumer) => {
                let strangers: Vec<_> = strangers.into_iter().map(|Stranger(one)| one).collect();
                consumer.let_in(&strangers);
            }
            Reader::Embedded(_) => {}
        }
    }

    /// Gives up its connections: who is met next must be let in anew, also who was before.
    pub fn disconnect(&mut self) {
        match &mut self.0 {
            Reader::Redis(consumer) => consumer.disconnect(),
            Reader::Embedded(_) => {}
        }
    }

    /// New messages, oldest first: waits for the first, then takes what is there, up to the batch's size. Empty
    /// when none came in time. May be dropped while it waits; what it took by then is delivered again.
    ///
    /// # Errors
    /// The queue is away; wait and read again.
    pub async fn read(&mut self) -> Result<Vec<Delivery>, ReadError> {
        match &mut self.0 {
            Reader::Redis(consumer) => consumer.read().await,
            Reader::Embedded(consumer) => consumer.read().await,
        }
    }

    /// Messages whose owner died, stalled, or dropped them unsettled; up to the batch's size.
    ///
    /// Only for who is certain to live until the former owners are fenced. Others, and that is every process that
    /// can be killed, look with [`Consumer::silent`], fence, and then call [`Consumer::take_over`].
    ///
    /// # Errors
    /// The queue is away; wait and try again.
    pub async fn reclaim(&mut self) -> Result<Reclaimed, ReadError> {
        let silent = self.silent().await?;
        self.take_over(silent).await
    }

    /// Looks for messages of others that died or stalled, and takes none. In one process nobody is silent.
    ///
    /// # Errors
    /// The queue is away; wait and try again.
    pub async fn silent(&mut self) -> Result<Silent, ReadError> {
        match &mut self.0 {
            Reader::Redis(consumer) => Ok(Silent(Some(consumer.silent().await?))),
            Reader::Embedded(_) => Ok(Silent(None)),
        }
    }

    /// Takes over what [`Consumer::silent`] found, if it is silent still and was found a moment ago, and what this
    /// consumer or a former one of its name left unsettled. Fence the owners first.
    ///
    /// # Errors
    /// The queue is away; look again.
    pub async fn take_over(&mut self, silent: Silent) -> Result<Reclaimed, ReadError> {
        match &mut self.0 {
            Reader::Redis(consumer) => match silent.0 {
                Some(silent) => consumer.take_over(silent).await,
                None => Ok(Reclaimed::default()),
            },
            Reader::Embedded(consumer) => consumer.reclaim().await,
        }
    }

    /// Keeps what this consumer has in hand from being taken over.
    #[must_use]
    pub fn keeper(&self) -> Keeper {
        Keeper(match &self.0 {
            Reader::Redis(consumer) => Some(consumer.keeper()),
            Reader::Embedded(_) => None,
        })
    }

    /// Settles what this consumer was delivered.
    #[must_use]
    pub fn settler(&self) -> Settler {
        Settler(match &self.0 {
            Reader::Redis(consumer) => Backend::Redis(consumer.queue()),
            Reader::Embedded(consumer) => Backend::Embedded(consumer.queue()),
        })
    }
}

impl Keeper {
    /// Makes all that the consumer has in hand, and that nobody took over yet, count as delivered just now, so that it is
    /// not taken for silent: for who waits for something that is no message's fault. No delivery is counted.
    ///
    /// # Errors
    /// The queue is away; call again before [`QueueSettings::reclaim_idle`] is over.
    pub async fn keep(&self) -> Result<(), QueueError> {
        match &self.0 {
            Some(keeper) => keeper.keep().await,
            None => Ok(()),
        }
    }
}

impl Silent {
    /// Who has the messages. Each may wake up and commit them: fence it in the store before they are taken, so
    /// that it stays fenced even if the taker dies on the way.
    #[must_use]
    pub fn owners(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |silent| &silent.owners)
    }

    /// Whether everything was looked at: false while a server of a cluster is away, or when there is more to look at.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|silent| silent.complete)
    }
}

impl Settler {
    /// Acknowledges: the messages are done with and leave the queue. Call it after their commit.
    ///
    /// # Errors
    /// The queue is away; the messages will be delivered again, and the ledger knows them.
    pub async fn ack(&self, deliveries: Vec<Delivery>) -> Result<(), QueueError> {
        if deliveries.is_empty() {
            return Ok(());
        }
        match &self.0 {
            Backend::Redis(redis) => {
                let ids: Vec<_> = deliveries.iter().map(|one| (one.hold.part(), one.id)).collect();
                redis.ack(&ids).await?;
            }
            Backend::Embedded(file) => {
                let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
                file.ack(&ids).await?;
            }
        }
        deliveries.into_iter().for_each(|delivery| delivery.hold.settle());
        Ok(())
    }

    /// Moves messages to the dead letters, in one step. One that another consumer has taken over is left to it.
    ///
    /// # Errors
    /// The queue is away; the messages will be delivered again.
    pub async fn bury(&self, dead: Vec<(Delivery, DeadReason)>) -> Result<(), QueueError> {
        if dead.is_empty() {
            return Ok(());
        }
        let buried = match &self.0 {
            Backend::Redis(redis) => redis.bury(&dead).await?,
            Backend::Embedded(file) => file.bury(&dead).await?,
        };
        metrics::counter!("sawpit_queue_buried_total").increment(buried);
        dead.into_iter().for_each(|(delivery, _)| delivery.hold.settle());
        Ok(())
    }
}
