//! The contract, whichever backend is behind it.

use std::sync::Arc;
use std::time::Duration;

use sawpit_model::MessageId;

use crate::embedded::Embedded;
use crate::redis::{self, Redis};
use crate::{Clock, Consumer, DeadLetter, OpenError, Producer, QueueError, QueueSettings};

/// A queue; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue(Backend);

/// What is behind every handle.
#[derive(Clone, Debug)]
pub enum Backend {
    Redis(Arc<Redis>),
    Embedded(Arc<Embedded>),
}

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
        Producer::new(self.0.clone())
    }

    /// A consumer of this name. Two that run at a time must not share a name.
    ///
    /// # Errors
    /// The queue is away.
    pub async fn consumer(&self, name: &str) -> Result<Consumer, QueueError> {
        Consumer::open(&self.0, name).await
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
