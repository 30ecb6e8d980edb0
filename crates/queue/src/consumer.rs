//! The handles of who reads.

use std::sync::Arc;

use crate::queue::Backend;
use crate::{Delivery, QueueError, ReadError, Reclaimed, Settler};
use crate::{embedded, redis};

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
    pub(crate) async fn open(backend: &Backend, name: &str) -> Result<Self, QueueError> {
        let reader = match backend {
            Backend::Redis(redis) => Reader::Redis(redis::Consumer::open(Arc::clone(redis), name).await?),
            Backend::Embedded(file) => Reader::Embedded(embedded::Consumer::new(Arc::clone(file), name)),
        };
        Ok(Self(reader))
    }

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
        Settler::new(match &self.0 {
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
}
