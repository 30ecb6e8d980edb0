//! What lies between host and worker: a queue that loses nothing it said it took, and the cache
//! with the feed of new rows, which may lose anything.
//!
//! The key decision: one contract, two backends, chosen by URL. Redis streams carry many processes; an
//! embedded file carries `sawpit up` with nothing installed. [`Queue`] hides which one it is, and one contract
//! suite runs on both. A [`Delivery`] owns its acknowledgement: [`Settler`] consumes it, and one that is
//! dropped is delivered again.
//!
//! Nothing is ever trimmed. Over the backlog's limit an append is refused, and whoever posts is told.

mod cache;
mod consumer;
mod dead;
mod delivery;
mod embedded;
mod error;
mod feed;
mod once;
mod producer;
mod queue;
mod redis;
mod settings;
mod settler;

pub use cache::{Cache, CacheAway, CacheSettings, Set};
pub use consumer::{Consumer, Keeper, Silent, Stranger};
pub use dead::DeadLetter;
pub use delivery::{Corrupt, DeadReason, Delivery, Reclaimed};
pub use error::{AppendError, OpenError, QueueError, ReadError};
pub use feed::{Feed, Heard, Listener};
pub use once::{Kept, Known, Once, OnceKey};
pub use producer::Producer;
pub use queue::Queue;
pub use redis::{is_cluster, is_redis};
pub use settings::{Clock, MOST_PARTITIONS, QueueSettings};
pub use settler::Settler;
