//! Warm instances: started once, called many times, thrown away when in doubt.
//!
//! A store is taken out of its plugin's pool for one call and put back after it. It is not put back after
//! any error, after `instance_calls` calls, or when it holds much of its memory limit, because a guest's
//! memory never shrinks and what a trap left behind is anyone's guess. Permits, as many as an instance takes of
//! the engine's slots, keep those from running out: whoever finds too few waits, instead of failing. With
//! `instance = "per-request"` none is ever put back.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use wasmtime::component::InstancePre;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::CallError;
use crate::bindings::{configuration, enrich, filter, meta, transform, types};
use crate::engine::Inner;
use crate::host::{GuestState, Shared};
use crate::meter::{Alive, Meter};
use crate::{Lifetime, LoadError, Manifest, Stage, convert, trace};

/// How many instances may live at once.
pub(crate) struct Permits {
    all: usize,
    free: Mutex<usize>,
    freed: Condvar,
    /// Idle instances are kept only while so many callers could each start the heaviest one that there ever was, so
    /// that a caller always gets one.
    callers: usize,
    heaviest: AtomicUsize,
}

/// The right of one instance to live.
pub(crate) struct Permit {
    of: Arc<Permits>,
    weight: usize,
}

impl Permits {
    pub const fn new(all: usize, callers: usize) -> Self {
        Self { all, free: Mutex::new(all), freed: Condvar::new(), callers, heaviest: AtomicUsize::new(1) }
    }

    /// Takes `weight` permits, or all where there are fewer; none: they were not free in time.
    pub fn take(self: &Arc<Self>, weight: usize, wait: Duration) -> Option<Permit> {
        let weight = weight.clamp(1, self.all.max(1));
        self.heaviest.fetch_max(weight, Relaxed);
        let free = self.free.lock().ok()?;
        let (mut free, _) = self.freed.wait_timeout_while(free, wait, |free| *free < weight).ok()?;
        *free = free.checked_sub(weight)?;
        Some(Permit { of: Arc::clone(self), weight })
    }

    fn may_idle(&self) -> bool {
        let reserve = self.callers.saturating_mul(self.heaviest.load(Relaxed));
        self.free.lock().is_ok_and(|free| *free >= reserve)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Ok(mut free) = self.of.free.lock() {
            *free += self.weight;
        }
        // All: who waits for one might get by where the next in line, who waits for two, does not.
        self.of.freed.notify_all();
    }
}

/// Where each export is, looked up once per version.
pub(crate) struct Exports {
    pub meta: meta::GuestIndices,
    pub configuration: Option<configuration::GuestIndices>,
    pub filter: Option<filter::GuestIndices>,
    pub enrich: Option<enrich::GuestIndices>,
    pub transform: Option<transform::GuestIndices>,
}

impl Exports {
    /// The stages that there are, in the order of the flow.
    pub fn stages(&self) -> Vec<Stage> {
        let there = [self.filter.is_some(), self.enrich.is_some(), self.transform.is_some()];
        Stage::ALL.into_iter().zip(there).filter_map(|(stage, there)| there.then_some(stage)).collect()
    }
}

/// All that it takes to start an instance of one version.
pub(crate) struct Recipe {
    pub runtime: Arc<Inner>,
    pub pre: InstancePre<GuestState>,
    pub exports: Exports,
    /// How many permits an instance takes.
    pub weight: usize,
    pub shared: Arc<Shared>,
    pub manifest: Manifest,
    /// While it is proved, when that must have ended: no call takes longer.
    pub until: Option<Instant>,
}

/// How long the guest may take.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub time: Duration,
    /// Where it is set, for who reads that it has passed.
    pub setting: &'static str,
}

impl Limit {
    /// Of a call with logs.
    pub const fn call(time: Duration) -> Self {
        Self { time, setting: "timeout_ms in the manifest" }
    }
}

/// A started instance.
pub(crate) struct Instance {
    pub store: Store<GuestState>,
    pub meta: meta::Guest,
    pub filter: Option<filter::Guest>,
    pub enrich: Option<enrich::Guest>,
    pub transform: Option<transform::Guest>,
    /// The buffers that calls are made with.
    pub batch: types::Batch,
    configuration: Option<configuration::Guest>,
    calls: u64,
    alive: Option<Alive>,
    // After the store, which must be gone before another instance takes its slot.
    _permit: Permit,
}

impl Recipe {
    /// Starts an instance without configuring it.
    pub fn start(&self) -> Result<Instance, CallError> {
        let settings = &self.runtime.settings;
        let limit = self.limited(self.start_limit());
        let wait = limit.time;
        let permit = self.runtime.permits.take(self.weight, wait).ok_or(CallError::Busy { waited: wait })?;
        let state = GuestState::new(Arc::clone(&self.shared), (self.manifest.memory_mib as usize) << 20);
        let mut store = Store::new(&self.runtime.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(settings.answer_bytes);
        store.set_epoch_deadline(self.runtime.ticks(wait));
        if self.runtime.metered {
            // More than any guest can use before its deadline: it is counted, not limited.
            store.set_fuel(u64::MAX).map_err(|error| CallError::Trap(error.to_string()))?;
        }
        match self.bind(&mut store) {
            Ok((meta, configuration, filter, enrich, transform)) => {
                let batch = convert::empty_batch();
                Ok(Instance {
                    store,
                    meta,
                    filter,
                    enrich,
                    transform,
                    batch,
                    configuration,
                    calls: 0,
                    alive: None,
                    _permit: permit,
                })
            }
            Err(error) => Err(self.explain(&mut store, &error, limit)),
        }
    }

    #[allow(clippy::type_complexity, reason = "taken apart on the spot")]
    fn bind(
        &self,
        store: &mut Store<GuestState>,
    ) -> wasmtime::Result<(
        meta::Guest,
        Option<configuration::Guest>,
        Option<filter::Guest>,
        Option<enrich::Guest>,
        Option<transform::Guest>,
    )> {
        let instance = self.pre.instantiate(&mut *store)?;
        let exports = &self.exports;
        Ok((
            exports.meta.load(&mut *store, &instance)?,
            exports.configuration.as_ref().map(|export| export.load(&mut *store, &instance)).transpose()?,
            exports.filter.as_ref().map(|export| export.load(&mut *store, &instance)).transpose()?,
            exports.enrich.as_ref().map(|export| export.load(&mut *store, &instance)).transpose()?,
            exports.transform.as_ref().map(|export| export.load(&mut *store, &instance)).transpose()?,
        ))
    }

    /// The fuel that is left; 0 where it is not metered. There asking for it is an error of wasmtime, and
    /// making one costs up to 5 µs (with RUST_BACKTRACE), several times the call.
    pub fn fuel(&self, instance: &Instance) -> u64 {
        if self.runtime.metered { instance.store.get_fuel().unwrap_or_default() } else { 0 }
    }

    /// Calls `describe`.
    pub fn describe(&self, instance: &mut Instance) -> Result<types::Description, LoadError> {
        self.call(instance, self.start_limit(), |guest| guest.meta.call_describe(&mut guest.store))
            .map_err(LoadError::Describe)
    }

    /// Hands the instance its settings, if it takes any.
    pub fn configure(&self, instance: &mut Instance) -> Result<(), CallError> {
        let Some(configuration) = instance.configuration.take() else { return Ok(()) };
        let config = &self.manifest.config;
        let limit = self.start_limit();
        let answer =
            self.call(instance, limit, |guest| configuration.call_configure(&mut guest.store, config))?;
        answer.map_err(|mut refusal| {
            convert::cut(&mut refusal, self.runtime.settings.text_bytes);
            CallError::Configure(refusal)
        })
    }

    /// Runs one call under a deadline.
    pub fn call<T>(
        &self,
        instance: &mut Instance,
        limit: Limit,
        run: impl FnOnce(&mut Instance) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let limit = self.limited(limit);
        instance.calls += 1;
        instance.store.data_mut().begin_call();
        instance.store.set_epoch_deadline(self.runtime.ticks(limit.time));
        let answer = run(instance);
        instance.store.data_mut().end_call();
        answer.map_err(|error| self.explain(&mut instance.store, &error, limit))
    }

    /// What is left of `limit` while the version is proved; all of it once it serves.
    pub fn within(&self, limit: Duration) -> Duration {
        self.until.map_or(limit, |until| until.saturating_duration_since(Instant::now()).min(limit))
    }

    /// The same, with where it is set.
    fn limited(&self, limit: Limit) -> Limit {
        let time = self.within(limit.time);
        let setting = if time < limit.time { "--plugin-proving-timeout" } else { limit.setting };
        Limit { time, setting }
    }

    /// How long a start, and each call of it, may take.
    fn start_limit(&self) -> Limit {
        Limit { time: self.runtime.settings.start_timeout, setting: "--plugin-start-timeout" }
    }

    /// Whether the time to prove it is over.
    pub fn is_late(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    fn explain(&self, store: &mut Store<GuestState>, error: &wasmtime::Error, limit: Limit) -> CallError {
        let state = store.data_mut();
        let said = state.last_words();
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return CallError::Deadline {
                limit: limit.time,
                setting: limit.setting,
                said: said.map_or_else(String::new, |said| format!(": {said}")),
            };
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return CallError::Busy { waited: limit.time };
        }
        let cause = trace::describe(error, said);
        if state.limiter.take_refused() {
            return CallError::Memory { limit_mib: self.manifest.memory_mib, cause };
        }
        CallError::Trap(cause)
    }

    fn may_stay(&self, instance: &Instance) -> bool {
        if self.manifest.instance == Lifetime::PerRequest {
            return false;
        }
        let settings = &self.runtime.settings;
        let limit = (self.manifest.memory_mib as usize) << 20;
        let high_water = limit / 100 * usize::from(settings.instance_memory_percent);
        instance.calls < settings.instance_calls && instance.store.data().limiter.held() <= high_water
    }
}

/// The idle instances of one version.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Instance>>);

impl Pool {
    /// A warm instance, or one that is started now.
    pub fn take(&self, recipe: &Recipe, meter: &Meter) -> Result<Instance, CallError> {
        let idle = self.0.lock().ok().and_then(|mut idle| idle.pop());
        if let Some(instance) = idle {
            return Ok(instance);
        }
        let mut instance = recipe.start()?;
        recipe.configure(&mut instance)?;
        instance.alive = Some(meter.started());
        Ok(instance)
    }

    /// Counts the idle instances, which were started before the version had its meter.
    pub fn count(&self, meter: &Meter) {
        if let Ok(mut idle) = self.0.lock() {
            idle.iter_mut().for_each(|instance| instance.alive = Some(meter.started()));
        }
    }

    /// Keeps an instance whose call went well, unless it is worn out.
    pub fn give(&self, recipe: &Recipe, instance: Instance) {
        if !recipe.may_stay(&instance) || !recipe.runtime.permits.may_idle() {
            return;
        }
        if let Ok(mut idle) = self.0.lock()
            && idle.len() < recipe.runtime.settings.threads
        {
            idle.push(instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_permit_is_waited_for_and_comes_back() {
        let permits = Arc::new(Permits::new(1, 1));
        let permit = permits.take(1, Duration::ZERO).unwrap();
        let started = Instant::now();
        assert!(permits.take(1, Duration::from_millis(20)).is_none());
        assert!(started.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| permits.take(1, Duration::from_secs(5)).is_some());
            drop(permit);
            assert!(waiter.join().unwrap());
        });
    }

    #[test]
    fn a_heavy_instance_takes_several_and_no_more_than_there_are() {
        let permits = Arc::new(Permits::new(3, 1));
        let heavy = permits.take(2, Duration::ZERO).unwrap();
        assert!(permits.take(2, Duration::ZERO).is_none());
        assert!(!permits.may_idle(), "the next heavy one would find too few");
        let light = permits.take(1, Duration::ZERO).unwrap();
        drop(heavy);
        assert!(permits.may_idle());
        drop(light);
        let all = permits.take(9, Duration::ZERO);
        assert!(all.is_some() && permits.take(1, Duration::ZERO).is_none());
    }
}
