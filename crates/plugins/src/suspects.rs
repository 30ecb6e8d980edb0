//! Devices whose logs a version used up its deadline on.
//!
//! One device that sets a plugin spinning must cost the others nothing once it is known. So its logs are called apart
//! from theirs, and each suspect has a circuit breaker of its own, with the limits of the plugin's: the plugin need not
//! be bypassed for all because of one. A device is let go when a call with its logs ends well a breaker's window after
//! the last that used up the deadline; at once, if none did and it was only too slow for a first try.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sawpit_model::{Log, Timestamp};

use crate::breaker::{Admission, Breaker, Ended, within};
use crate::{BreakerLimits, CallError};

/// The suspects of one version.
pub struct Suspects {
    limits: BreakerLimits,
    /// Most devices; beyond it the one that was struck longest ago is let go.
    most: usize,
    devices: Mutex<HashMap<String, Suspect>>,
    /// How many there are, so that nobody takes the lock while there is none.
    count: AtomicUsize,
    /// When a call last used up its time, in microseconds.
    last: AtomicI64,
}

struct Suspect {
    breaker: Breaker,
    /// When a call with its logs last used up its time.
    struck: Timestamp,
    /// Whether that was the plugin's deadline, once.
    is_proven: bool,
}

/// What a call with these logs is, to the suspects.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not of one suspect alone.
    Ordinary,
    /// All logs are of one suspect.
    Suspect {
        /// Whether it is a probe: the suspect's breaker waits for how it goes.
        probe: bool,
        /// Whether a call with its logs used up the plugin's whole deadline before.
        is_proven: bool,
    },
    /// All logs are of one suspect that is bypassed. What the plugin failed with, one line.
    Bypass(String),
}

impl Suspects {
    /// None yet; room for `most` devices.
    pub fn new(limits: BreakerLimits, most: usize) -> Self {
        Self {
            limits,
            most,
            devices: Mutex::default(),
            count: AtomicUsize::new(0),
            last: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether the device is one.
    pub fn has(&self, device_id: &str) -> bool {
        !self.is_empty() && self.lock().contains_key(device_id)
    }

    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Whether a call used up its time within the breaker's window: then the next culprit may be another device.
    pub fn is_wary(&self, now: Timestamp) -> bool {
        let last = self.last.load(Relaxed);
        last != i64::MIN && within(Timestamp::from_micros(last), now, self.limits.window)
    }

    /// Asked before each call.
    pub fn admit(&self, logs: &[&Log], now: Timestamp) -> Standing {
        if self.is_empty() {
            return Standing::Ordinary;
        }
        let devices = self.lock();
        let Some(suspect) = one_device(logs).and_then(|device| devices.get(device)) else {
            return Standing::Ordinary;
        };
        let is_proven = suspect.is_proven;
        match suspect.breaker.admit(now) {
            Admission::Call => Standing::Suspect { probe: false, is_proven },
            Admission::Probe => Standing::Suspect { probe: true, is_proven },
            Admission::Bypass(last) => Standing::Bypass(last),
        }
    }

    /// A call took longer than it was given for a first try, which a healthy plugin may with a long list: only a device
    /// that is seen to do so for the first time makes others suspicious.
    pub fn cut_short(&self, logs: &[&Log], now: Timestamp) {
        if let Some(device) = one_device(logs) {
            self.strike(device, false, now);
        }
    }

    /// A call with a list of logs used up the plugin's deadline.
    pub fn slow(&self, logs: &[&Log], now: Timestamp) {
        self.last.store(now.as_micros(), Relaxed);
        if let Some(device) = one_device(logs) {
            self.strike(device, false, now);
        }
    }

    /// A call with logs of one device used up the plugin's deadline.
    pub fn struck(&self, logs: &[&Log], probe: bool, error: &CallError, now: Timestamp) {
        let Some(device) = one_device(logs) else { return };
        self.strike(device, true, now);
        if let Some(suspect) = self.lock().get(device) {
            suspect.breaker.settle(probe, Ended::Failed(error), now);
        }
    }

    /// A call with a suspect's logs came back in time.
    pub fn well(&self, logs: &[&Log], probe: bool, now: Timestamp) {
        let Some(device) = one_device(logs) else { return };
        let mut devices = self.lock();
        let Some(suspect) = devices.get(device) else { return };
        suspect.breaker.settle(probe, Ended::Well, now);
        if !suspect.is_proven || !within(suspect.struck, now, self.limits.window) {
            devices.remove(device);
            self.count.store(devices.len(), Relaxed);
        }
    }

    /// A call with a suspect's logs was not made after all, which says nothing.
    pub fn unsaid(&self, logs: &[&Log], probe: bool, now: Timestamp) {
        let Some(device) = one_device(logs) else { return };
        if let Some(suspect) = self.lock().get(device) {
            suspect.breaker.settle(probe, Ended::Unsaid, now);
        }
    }

    /// Forgets them all.
    pub fn forget(&self) {
        let mut devices = self.lock();
        devices.clear();
        self.count.store(0, Relaxed);
        self.last.store(i64::MIN, Relaxed);
    }

    fn strike(&self, device: &str, is_proven: bool, now: Timestamp) {
        let mut devices = self.lock();
        match devices.get_mut(device) {
            Some(suspect) => {
                suspect.struck = now;
                suspect.is_proven |= is_proven;
            }
            None => {
                make_room(&mut devices, self.most);
                let breaker = Breaker::unseen(self.limits);
                devices.insert(device.to_owned(), Suspect { breaker, struck: now, is_proven });
                self.count.store(devices.len(), Relaxed);
                self.last.store(now.as_micros(), Relaxed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Suspect>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(devices: &mut HashMap<String, Suspect>, most: usize) {
    while devices.len() >= most.max(1) {
        let oldest =
            devices.iter().min_by_key(|(_, suspect)| suspect.struck).map(|(device, _)| device.clone());
        if let Some(oldest) = oldest {
            devices.remove(&oldest);
        }
    }
}

/// The device that all logs are of.
fn one_device<'a>(logs: &[&'a Log]) -> Option<&'a str> {
    let (first, others) = logs.split_first()?;
    others.iter().all(|log| log.device_id == first.device_id).then_some(first.device_id.as_str())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sawpit_model::{Level, RawObject};

    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 2,
        window: Duration::from_millis(100),
        percent: 50,
        rest: Duration::from_millis(50),
    };

    fn log(device: &str) -> Log {
        Log {
            device_id: device.to_owned(),
            log_level: Level::Info,
            message: "m".to_owned(),
            log_data: RawObject::default(),
            received_at: Timestamp::default(),
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    fn error() -> CallError {
        CallError::Deadline { limit: Duration::from_millis(5), setting: "", said: String::new() }
    }

    #[test]
    fn a_suspect_is_bypassed_alone_and_probed_when_it_has_rested() {
        let suspects = Suspects::new(LIMITS, 8);
        let (bad, good) = (log("bad"), log("good"));
        (0..2).for_each(|_| suspects.struck(&[&bad], false, &error(), at(0)));
        assert!(matches!(suspects.admit(&[&bad, &bad], at(1)), Standing::Bypass(_)));
        assert_eq!(suspects.admit(&[&good], at(1)), Standing::Ordinary);
        assert_eq!(suspects.admit(&[&bad, &good], at(1)), Standing::Ordinary);
        assert_eq!(suspects.admit(&[&bad], at(50)), Standing::Suspect { probe: true, is_proven: true });
        assert!(matches!(suspects.admit(&[&bad], at(50)), Standing::Bypass(_)), "one probe at a time");
    }

    #[test]
    fn it_is_let_go_once_a_call_ends_well_a_window_later() {
        let suspects = Suspects::new(LIMITS, 8);
        let bad = log("bad");
        suspects.struck(&[&bad], false, &error(), at(0));
        suspects.well(&[&bad], false, at(99));
        assert!(suspects.has("bad") && suspects.is_wary(at(99)));
        suspects.well(&[&bad], false, at(100));
        assert!(!suspects.has("bad") && suspects.is_empty() && !suspects.is_wary(at(100)));
    }

    #[test]
    fn who_was_only_too_slow_for_a_first_try_is_let_go_at_once() {
        let suspects = Suspects::new(LIMITS, 8);
        suspects.slow(&[&log("late")], at(0));
        assert!(suspects.has("late"));
        suspects.well(&[&log("late")], false, at(1));
        assert!(!suspects.has("late"));
    }

    #[test]
    fn the_number_of_devices_is_limited_and_the_oldest_is_let_go() {
        let suspects = Suspects::new(LIMITS, 2);
        for (millis, device) in [(0, "a"), (1, "b"), (2, "a"), (3, "c")] {
            suspects.slow(&[&log(device)], at(millis));
        }
        assert_eq!(["a", "b", "c"].map(|device| suspects.has(device)), [true, false, true]);
    }

    #[test]
    fn a_list_of_several_devices_makes_nobody_a_suspect() {
        let suspects = Suspects::new(LIMITS, 2);
        suspects.slow(&[&log("a"), &log("b")], at(0));
        assert!(suspects.is_empty() && suspects.is_wary(at(1)));
    }

    #[test]
    fn calls_that_are_cut_short_keep_nobody_wary_but_for_a_device_that_is_new_among_the_suspects() {
        let suspects = Suspects::new(LIMITS, 2);
        suspects.cut_short(&[&log("a"), &log("b")], at(0));
        assert!(!suspects.is_wary(at(1)), "a long list may take that long");
        suspects.cut_short(&[&log("a")], at(0));
        assert!(suspects.has("a") && suspects.is_wary(at(1)));
        suspects.cut_short(&[&log("a")], at(90));
        assert!(!suspects.is_wary(at(150)), "it is known since the first time");
    }

    #[test]
    fn a_probe_that_was_not_made_leaves_a_suspects_breaker_open() {
        let suspects = Suspects::new(LIMITS, 2);
        let late = CallError::Deadline { limit: Duration::from_millis(1), setting: "", said: String::new() };
        suspects.struck(&[&log("a")], false, &late, at(0));
        suspects.struck(&[&log("a")], false, &late, at(1));
        assert!(matches!(suspects.admit(&[&log("a")], at(2)), Standing::Bypass(_)));
        assert_eq!(suspects.admit(&[&log("a")], at(60)), Standing::Suspect { probe: true, is_proven: true });
        suspects.unsaid(&[&log("a")], true, at(60));
        assert!(matches!(suspects.admit(&[&log("a")], at(61)), Standing::Bypass(_)));
    }
}
