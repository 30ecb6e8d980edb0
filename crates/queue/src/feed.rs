//! New rows, told to whoever listens at this moment: within the process, or by Redis's publish and subscribe.
//!
//! Best effort: what nobody hears is gone, and a listener that is too slow is told that it missed something. Nothing
//! waits for a listener. While none is known, a message is published only now and then, to learn whether there is one:
//! so watching costs nothing when nobody watches, and a listener on Redis hears what comes [`PROBE_EVERY`] after it came.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::task::JoinHandle;

use crate::cache::Remote;

/// The channel of new rows.
const CHANNEL: &str = "logs:tail";

/// Messages that a listener may lag behind.
const ROOM: usize = 1_024;

/// How often it is found out whether somebody listens.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Pause before a subscription that broke is made anew.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// How often a subscription looks whether anybody listens still.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells what is new; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    here: Sender<Heard>,
    remote: Option<Channel>,
}

/// The channel on Redis.
struct Channel {
    remote: Arc<Remote>,
    opened: Instant,
    /// Milliseconds after `opened` at which the next message is published even if nobody is known to listen.
    probe_at: AtomicU64,
    is_heard: AtomicBool,
    /// Hands on what the channel says; started with the first listener.
    relay: Mutex<Option<JoinHandle<()>>>,
    /// Wakes it when it sleeps because nobody listens.
    wanted: Arc<Notify>,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, as it was published.
    Message(Bytes),
    /// Messages may be missing here: the listener was too slow, or the connection broke and is there again.
    Gap,
}

/// Hears what comes from now on.
pub struct Listener {
    receiver: Receiver<Heard>,
    _feed: Feed,
}

impl Feed {
    pub(crate) fn here() -> Self {
        Self(Arc::new(Inner { here: Sender::new(ROOM), remote: None }))
    }

    pub(crate) fn over(remote: Arc<Remote>) -> Self {
        let channel = Channel {
            remote,
            opened: Instant::now(),
            probe_at: AtomicU64::new(0),
            is_heard: AtomicBool::new(false),
            relay: Mutex::default(),
            wanted: Arc::default(),
        };
        Self(Arc::new(Inner { here: Sender::new(ROOM), remote: Some(channel) }))
    }

    /// Publishes a message, which is made only if somebody may be listening. Never an error: what is not heard is gone.
    pub async fn publish(&self, message: impl FnOnce() -> Bytes) {
        match &self.0.remote {
            Some(channel) => channel.publish(message).await,
            None if self.0.here.receiver_count() == 0 => {}
            // Fails only when the last listener has just left.
            None => drop(self.0.here.send(Heard::Message(message()))),
        }
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        let receiver = self.0.here.subscribe();
        if let Some(channel) = &self.0.remote {
            channel.subscribe(&self.0.here);
        }
        Listener { receiver, _feed: self.clone() }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.remote.is_some() { "Feed(redis)" } else { "Feed(here)" })
    }
}

impl Listener {
    /// The next message. May be dropped while it waits; nothing is lost by that.
    pub async fn next(&mut self) -> Heard {
        match self.receiver.recv().await {
            Ok(heard) => heard,
            Err(RecvError::Lagged(_)) => Heard::Gap,
            // The feed is held, so there is a sender.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Channel {
    async fn publish(&self, message: impl FnOnce() -> Bytes) {
        if !self.is_heard.load(Ordering::Relaxed) && !self.is_probe_due() {
            return;
        }
        let message = message();
        let Some(node) = self.remote.master(CHANNEL) else { return };
        let mut publish = redis::pipe();
        publish.cmd("PUBLISH").arg(CHANNEL).arg(message.as_ref());
        let listeners: Option<(u64,)> = self.remote.ask(&node, &publish).await;
        self.is_heard.store(listeners.is_some_and(|(count,)| count > 0), Ordering::Relaxed);
    }

    /// Of several that ask at once, one is told.
    fn is_probe_due(&self) -> bool {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.probe_at.load(Ordering::Relaxed);
        let next = now.saturating_add(u64::try_from(PROBE_EVERY.as_millis()).unwrap_or(u64::MAX));
        now >= due && self.probe_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// One subscription serves all listeners of the process, and lasts while there are any.
    fn subscribe(&self, here: &Sender<Heard>) {
        let mut running = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
        running.get_or_insert_with(|| {
            tokio::spawn(relay(Arc::clone(&self.remote), here.clone(), Arc::clone(&self.wanted)))
        });
        self.wanted.notify_one();
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut running = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.take() {
            running.abort();
        }
    }
}

/// Hands on what the channel says while anybody listens, and connects anew when the connection breaks.
///
/// An outage is one gap, told when it is over: who then asks for what is stored misses nothing, and who was told at each
/// try would ask in vain at each.
async fn relay(remote: Arc<Remote>, here: Sender<Heard>, wanted: Arc<Notify>) {
    let mut was_away = false;
    loop {
        // A listener counts itself before it notifies, and a notification is kept until it is waited for.
        if here.receiver_count() == 0 {
            wanted.notified().await;
            // Who comes now has missed nothing yet.
            was_away = false;
            continue;
        }
        if let Err(error) = hear(&remote, &here, &mut was_away).await {
            tracing::debug!(%error, "the feed of new rows is away; it is connected anew");
            was_away = true;
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
}

/// Ends without an error when nobody listens any more.
async fn hear(remote: &Remote, here: &Sender<Heard>, was_away: &mut bool) -> Result<(), redis::RedisError> {
    let away = || redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::NotConnected));
    let mut connection = remote.master(CHANNEL).ok_or_else(away)?.client.get_async_pubsub().await?;
    connection.subscribe(CHANNEL).await?;
    if std::mem::take(was_away) {
        drop(here.send(Heard::Gap));
    }
    let mut messages = connection.on_message();
    loop {
        match tokio::time::timeout(LOOK_EVERY, messages.next()).await {
            Ok(Some(message)) => drop(here.send(Heard::Message(message.get_payload::<Vec<u8>>()?.into()))),
            Ok(None) => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
            Err(_) => {}
        }
        if here.receiver_count() == 0 {
            return Ok(());
        }
    }
}
