//! Waiting for replicas: `--min-replicas`.
//!
//! Redis answers an append before its replicas have it, and when the master dies then, they never will. WAIT, sent
//! behind the append on the same connection, answers when so many replicas have it. Too few in time, and nobody can say
//! whether the append will outlast a failure: it is told as unknown. From then on appends are refused, which says for
//! sure that nothing was appended, until a look finds enough replicas again; else every device would wait its time out
//! and repeat what is in the stream already.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::sync::Mutex;

use super::node::{Call, Node};
use super::reader::millis;
use crate::AppendError;

/// Longest wait of a look whether there are enough replicas again.
const LOOK: Duration = Duration::from_millis(100);

/// What is known of a server's replicas.
#[derive(Default)]
pub(super) struct Replicas {
    too_few: AtomicBool,
    looking: Mutex<()>,
}

impl Node {
    /// Refuses while there are too few replicas; one caller at a time looks whether there still are, beside this stream.
    pub(super) async fn admit(&self, wanted: u16, stream: &str) -> Result<(), AppendError> {
        if wanted == 0 || !self.replicas.too_few.load(Ordering::Relaxed) {
            return Ok(());
        }
        let refused = |cause: String| AppendError::Refused { cause };
        let Ok(_alone) = self.replicas.looking.try_lock() else {
            return Err(refused(format!("fewer than {wanted} replicas follow")));
        };
        let mut look = redis::pipe();
        let name = format!("{stream}:replicas");
        // WAIT is about what its own connection wrote before, so something has to be written.
        look.cmd("SET").arg(name).arg("look").arg("PX").arg(millis(LOOK)).ignore();
        look.cmd("WAIT").arg(wanted).arg(millis(LOOK));
        let looked: Result<(u64,), _> = self.call(Call::Pipeline(&look)).await;
        let (found,) = looked.map_err(|error| refused(error.to_string()))?;
        if found < u64::from(wanted) {
            return Err(refused(format!("{found} of {wanted} replicas follow")));
        }
        self.replicas.too_few.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the answer of the WAIT behind an append.
    pub(super) fn confirm(&self, wanted: u16, answer: Option<&Value>) -> Result<(), AppendError> {
        let found = match answer {
            Some(Value::Int(found)) => *found,
            _ => 0,
        };
        if found >= i64::from(wanted) {
            return Ok(());
        }
        self.replicas.too_few.store(true, Ordering::Relaxed);
        metrics::counter!("sawpit_queue_unreplicated_total").increment(1);
        Err(AppendError::Unknown { cause: format!("{found} of {wanted} replicas have it in time") })
    }
}
