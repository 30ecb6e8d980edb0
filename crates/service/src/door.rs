//! The one bounded door from async tasks to the CPU pool (rayon).
//!
//! CPU-bound work on an async thread would stall every connection of that thread, and an unbounded queue
//! before a pool hides overload until memory ends. So work waits in a line of limited length, keeps the
//! caller's tracing span, is skipped when its caller has left, and a panic in it is the caller's error only.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

/// The door. Clones share one pool and one line.
#[derive(Clone, Debug)]
pub struct Door {
    pool: Arc<rayon::ThreadPool>,
    room: Arc<Semaphore>,
}

/// The work panicked, as this text says: a defect of this program, log it; the pool goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("work panicked: {0}; this is a defect, please report it")]
pub struct DoorError(String);

/// The CPU pool could not start its threads.
#[derive(Debug, thiserror::Error)]
#[error("could not start the CPU threads: {0}; lower the thread count or raise the process limit")]
pub struct DoorOpenError(#[from] rayon::ThreadPoolBuildError);

impl Door {
    /// A pool of `threads` threads (0: one per core) and room for `capacity` pieces of work, running and
    /// waiting together (at least 1).
    ///
    /// # Errors
    /// When the operating system refuses the threads.
    pub fn new(threads: usize, capacity: usize) -> Result<Self, DoorOpenError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("cpu-{index}"))
            .build()?;
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self { pool: Arc::new(pool), room: Arc::new(Semaphore::new(capacity)) })
    }

    /// How many threads the pool has.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` in the pool, once there is room in the line. Dropping the returned future leaves the line: work that has
    /// not begun is skipped.
    ///
    /// # Errors
    /// `work` panicked.
    pub async fn run<T, F>(&self, work: F) -> Result<T, DoorError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // The line is never closed.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        let (answer, result) = oneshot::channel();
        let span = tracing::Span::current();
        self.pool.spawn(move || {
            let _permit = permit;
            if !answer.is_closed() {
                // A caller that left meanwhile does not want the result.
                let _ = answer.send(span.in_scope(|| guarded(work)));
            }
        });
        result.await.unwrap_or_else(|_| Err(DoorError("the CPU thread ended".to_owned())))
    }
}

/// Unwind safety: `work` is consumed, and what it shared with others must lock for itself.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, DoorError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| DoorError(panic_text(payload.as_ref())))
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_runs_in_the_pool_and_answers() {
        let door = Door::new(1, 4).unwrap();
        let name = door.run(|| std::thread::current().name().map(str::to_owned)).await.unwrap();
        assert_eq!(name.as_deref(), Some("cpu-0"));
    }

    #[tokio::test]
    async fn a_full_line_is_waited_for() {
        let door = Door::new(2, 1).unwrap();
        let (release, held) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let door = door.clone();
            async move { door.run(move || held.recv().is_ok()).await }
        });
        while door.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = door.run(|| 7);
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err(), "two at once");
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(true));
        assert_eq!(second.await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_goes_on() {
        let door = Door::new(1, 1).unwrap();
        let failed = door.run(|| panic!("broken {}", 1)).await;
        assert_eq!(failed, Err::<(), _>(DoorError("broken 1".to_owned())));
        assert_eq!(door.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn work_whose_caller_left_is_skipped() {
        let door = Door::new(1, 2).unwrap();
        let (release, held) = mpsc::channel::<()>();
        let blocker = tokio::spawn({
            let door = door.clone();
            async move { door.run(move || held.recv().is_ok()).await }
        });
        while door.room.available_permits() > 1 {
            tokio::task::yield_now().await;
        }
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        let left = tokio::spawn({
            let door = door.clone();
            async move { door.run(move || flag.store(true, Ordering::SeqCst)).await }
        });
        while door.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
        release.send(()).unwrap();
        assert!(blocker.await.unwrap().unwrap());
        door.run(|| ()).await.unwrap();
        assert!(!ran.load(Ordering::SeqCst));
    }
}
