//! What the host does for a plugin. Each is granted by the `grants` of the plugin's `.toml`; a plugin that
//! calls one that is not granted is refused when it is loaded, except for [`log`], whose lines are then dropped.
//!
//! On native targets, where plugins are tested, lines go to standard error and the rest is kept for
//! [`crate::testing`] to see.

use crate::Level;
#[cfg(target_arch = "wasm32")]
use crate::bindings::base::sawpit::plugin as imports;

/// Writes a line for the operator to the log of the process, with the plugin's name. Granted as `log`.
pub fn log(level: Level, message: &str) {
    imports::log::write(level, message);
}

/// Microseconds since the Unix epoch, UTC. Granted as `clock`.
#[must_use]
pub fn now() -> i64 {
    imports::clock::now()
}

/// Adds to a counter of the plugin, which becomes a Prometheus metric. Granted as `counters`. A name is 1
/// to 64 lower-case letters, digits and underscores; a plugin has at most 64, further names are ignored.
pub fn count(name: &str, by: u64) {
    imports::counters::add(name, by);
}

/// Stands in for the host in native tests; each thread has its own, as each test has its thread.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod imports {
    pub mod log {
        use crate::Level;

        #[expect(clippy::print_stderr, reason = "the operator of a test reads standard error")]
        pub fn write(level: Level, message: &str) {
            eprintln!("{level} {message}");
        }
    }

    pub mod clock {
        use std::cell::Cell;

        thread_local! {
            pub static NOW: Cell<i64> = const { Cell::new(0) };
        }

        pub fn now() -> i64 {
            NOW.get()
        }
    }

    pub mod counters {
        use std::cell::RefCell;
        use std::collections::BTreeMap;

        thread_local! {
            pub static COUNTERS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
        }

        pub fn add(name: &str, by: u64) {
            COUNTERS.with_borrow_mut(|counters| *counters.entry(name.to_owned()).or_default() += by);
        }
    }
}
