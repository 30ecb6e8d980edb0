//! What a guest can ask of us: log, clock, counters. This is the state of its store.
//!
//! `log` is linked for every plugin, granted or not, because it is how a guest's last words reach us: a
//! panic hook writes its message there before it traps. Without the grant the lines go no further than the
//! error that they explain. `clock` and `counters` are refused at load where they are not granted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use metrics::Counter;
use sawpit_model::Level;

use crate::bindings::{clock, counters, log, types};
use crate::heard::Ears;
use crate::limiter::Limiter;
use crate::scope::Scope;
use crate::settings::Clock;
use crate::trace::inset;
use crate::wasi::Wasi;
use crate::{convert, meter};

/// Most counters that one plugin may have; from `host.wit`.
const COUNTERS: usize = 64;
/// Longest name of a counter, in bytes; from `host.wit`.
const COUNTER_NAME_BYTES: usize = 64;
/// How many of its last lines explain a guest's error: a Python traceback has two for each frame.
const LAST_LINES: usize = 16;
/// Longest explanation of a guest's error, in bytes. Of a longer one the beginning is left out, because what
/// failed stands last in a traceback.
const LAST_WORDS_BYTES: usize = 2 * 1024;
/// What the standard library of Rust advises beneath a panic: no plugin has an environment.
const USELESS: &str = "note: run with `RUST_BACKTRACE=";

/// What all instances of one version share.
pub struct Shared {
    /// The plugin's name, or the file's until it was asked.
    pub name: Mutex<Arc<str>>,
    /// Whether its lines go to our log.
    pub may_log: bool,
    /// The time.
    pub clock: Clock,
    /// Lines and texts are cut to this many bytes.
    pub text_bytes: usize,
    /// Lines that one call may write.
    pub log_lines: u32,
    /// For who looks on.
    pub ears: Ears,
    counters: Mutex<HashMap<String, Counter>>,
    /// Since the version serves. Until then it is proved, and what it writes and counts is nobody's business.
    serves: OnceLock<Serves>,
}

/// What a version that serves counts as.
struct Serves {
    version: String,
    scope: Scope,
}

impl Shared {
    pub fn new(name: &str, may_log: bool, settings: &crate::RuntimeSettings) -> Self {
        Self {
            name: Mutex::new(name.into()),
            may_log,
            clock: Arc::clone(&settings.clock),
            text_bytes: settings.text_bytes,
            log_lines: settings.log_lines,
            ears: Ears::default(),
            counters: Mutex::default(),
            serves: OnceLock::new(),
        }
    }

    /// From now on its lines are written and its counters count, in `scope`.
    pub fn serve(&self, version: &str, scope: &Scope) {
        let _ = self.serves.set(Serves { version: version.to_owned(), scope: scope.clone() });
    }

    fn writes(&self) -> bool {
        self.may_log && self.serves.get().is_some()
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// The rule that the counter breaks.
    fn count(&self, name: &str, by: u64) -> Result<(), String> {
        let Some(serves) = self.serves.get() else { return Ok(()) };
        let Ok(mut counters) = self.counters.lock() else { return Ok(()) };
        if let Some(counter) = counters.get(name) {
            counter.increment(by);
            return Ok(());
        }
        if !is_counter_name(name) {
            return Err(format!(
                "its name must be 1 to {COUNTER_NAME_BYTES} lower-case letters, digits and underscores"
            ));
        }
        if counters.len() >= COUNTERS {
            return Err(format!("a plugin may have {COUNTERS} counters"));
        }
        let counter = serves.scope.run(|| meter::guest_counter(&self.name(), &serves.version, name));
        counter.increment(by);
        counters.insert(name.to_owned(), counter);
        Ok(())
    }

    /// Takes the name that the plugin gave itself.
    pub fn rename(&self, name: &str) {
        if let Ok(mut slot) = self.name.lock() {
            *slot = name.into();
        }
    }

    pub fn name(&self) -> Arc<str> {
        self.name.lock().map_or_else(|_| "plugin".into(), |name| Arc::clone(&name))
    }
}

/// The state of one instance's store.
pub struct GuestState {
    pub limiter: Limiter,
    pub wasi: Wasi,
    shared: Arc<Shared>,
    last_lines: Vec<String>,
    lines: u32,
}

impl GuestState {
    pub fn new(shared: Arc<Shared>, limit_bytes: usize) -> Self {
        let wasi = Wasi::new(shared.text_bytes);
        Self { limiter: Limiter::new(limit_bytes), wasi, shared, last_lines: Vec::new(), lines: 0 }
    }

    /// Forgets what the call before said.
    pub fn begin_call(&mut self) {
        self.lines = 0;
        self.last_lines.clear();
        self.limiter.take_refused();
    }

    /// Sends what it printed through WASI to the log.
    pub fn end_call(&mut self) {
        for (level, line) in self.wasi.take_lines() {
            self.line(level, line);
        }
    }

    /// What it said last, newest last, or nothing.
    pub fn last_words(&self) -> Option<String> {
        let said = self.last_lines.join("\n");
        let said = convert::end_of(&said, LAST_WORDS_BYTES);
        (!said.is_empty()).then(|| said.to_owned())
    }

    fn line(&mut self, level: Level, mut message: String) {
        if message.starts_with(USELESS) {
            return;
        }
        convert::cut(&mut message, self.shared.text_bytes);
        self.lines = self.lines.saturating_add(1);
        if self.lines > self.shared.log_lines {
            self.shared.ears.line_left_out();
        } else {
            self.shared.ears.line(level, &message, self.shared.may_log);
            if self.shared.writes() {
                emit(&self.shared.name(), level, &message);
            }
        }
        if message.trim().is_empty() {
            return;
        }
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.remove(0);
        }
        self.last_lines.push(message);
    }
}

fn emit(plugin: &str, level: Level, message: &str) {
    let message = inset(message);
    match level {
        Level::Debug => tracing::debug!(target: "sawpit::plugin", plugin, "{message}"),
        Level::Info => tracing::info!(target: "sawpit::plugin", plugin, "{message}"),
        Level::Warning => tracing::warn!(target: "sawpit::plugin", plugin, "{message}"),
        Level::Error => tracing::error!(target: "sawpit::plugin", plugin, "{message}"),
        Level::Critical => tracing::error!(target: "sawpit::plugin", plugin, critical = true, "{message}"),
    }
}

impl types::Host for GuestState {}

impl log::Host for GuestState {
    fn write(&mut self, level: types::Level, message: String) {
        self.line(convert::level_from_guest(level), message);
    }
}

impl clock::Host for GuestState {
    fn now(&mut self) -> i64 {
        (self.shared.clock)().as_micros()
    }
}

impl counters::Host for GuestState {
    fn add(&mut self, name: String, by: u64) {
        let refused = self.shared.count(&name, by).err();
        self.shared.ears.counted(&name, by, refused);
    }
}

fn is_counter_name(name: &str) -> bool {
    (1..=COUNTER_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuntimeSettings;

    fn state() -> GuestState {
        let settings = RuntimeSettings::new(Arc::new(|| sawpit_model::Timestamp::from_micros(7)));
        GuestState::new(Arc::new(Shared::new("p", false, &settings)), 1024)
    }

    #[test]
    fn a_plugin_has_at_most_64_counters_of_the_allowed_names() {
        let mut state = state();
        counters::Host::add(&mut state, "unproved".to_owned(), 1);
        assert_eq!(
            state.shared.counters.lock().unwrap().len(),
            0,
            "it is not yet of interest what it counts"
        );
        state.shared.serve("1.0.0", &Scope::default());
        for wrong in ["", "Upper", "has space", &"x".repeat(65)] {
            counters::Host::add(&mut state, wrong.to_owned(), 1);
        }
        assert_eq!(state.shared.counters.lock().unwrap().len(), 0);
        for i in 0..100 {
            counters::Host::add(&mut state, format!("c_{i}"), 1);
        }
        assert_eq!(state.shared.counters.lock().unwrap().len(), COUNTERS);
    }

    #[test]
    fn the_last_words_are_the_last_lines_cut_to_size() {
        let mut state = state();
        for i in 0..100 {
            log::Host::write(&mut state, types::Level::Info, format!("line {i}"));
        }
        let last: Vec<_> = (100 - LAST_LINES..100).map(|i| format!("line {i}")).collect();
        assert_eq!(state.last_words().unwrap(), last.join("\n"));
        for _ in 0..LAST_LINES {
            log::Host::write(&mut state, types::Level::Info, "é".repeat(5_000));
        }
        log::Host::write(&mut state, types::Level::Info, "the end".to_owned());
        let said = state.last_words().unwrap();
        assert!((LAST_WORDS_BYTES - 4..=LAST_WORDS_BYTES).contains(&said.len()), "{}", said.len());
        assert!(said.ends_with("é…\nthe end") || said.ends_with("é\nthe end"), "{said}");
        state.begin_call();
        assert_eq!(state.last_words(), None);
    }

    #[test]
    fn a_line_is_cut_to_the_bytes_of_a_text() {
        let mut settings = RuntimeSettings::new(Arc::new(sawpit_model::Timestamp::default));
        settings.text_bytes = 64;
        let mut state = GuestState::new(Arc::new(Shared::new("p", false, &settings)), 1024);
        log::Host::write(&mut state, types::Level::Info, "x".repeat(64));
        assert_eq!(state.last_words().unwrap(), "x".repeat(64));
        state.begin_call();
        log::Host::write(&mut state, types::Level::Info, "x".repeat(65));
        assert_eq!(state.last_words().unwrap(), "x".repeat(64) + "…");
    }

    #[test]
    fn lines_that_tell_nothing_are_no_last_words() {
        let mut state = state();
        for line in
            ["", "  ", "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"]
        {
            log::Host::write(&mut state, types::Level::Error, line.to_owned());
        }
        assert_eq!(state.last_words(), None);
    }

    #[test]
    fn the_clock_is_the_one_of_the_settings() {
        assert_eq!(clock::Host::now(&mut state()), 7);
    }
}
