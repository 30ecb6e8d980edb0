//! Carries a plan out: each fault on a thread of its own, because they overlap.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::{Fault, Link, Place, Step, Target};
use crate::proxy::Weather;
use crate::system::System;

/// How often processes that ended by themselves are looked for.
const TEND: Duration = Duration::from_millis(100);

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Faults by kind and target.
    pub faults: BTreeMap<String, u64>,
    /// Processes that ended by themselves and were started again, by name.
    pub restarted: BTreeMap<String, u64>,
}

/// Does what the plan says from now on. When it returns, everything has been put right again.
#[must_use]
pub fn carry_out(system: &System, plan: &[Step], lasting: Duration) -> Done {
    let started = Instant::now();
    let mut done = Done::default();
    // The plan leaves time for a target to come back. A database that recovers on a busy machine may need more: then
    // the next fault waits for it.
    let places: BTreeMap<Place, Mutex<()>> =
        plan.iter().filter_map(|step| Some((step.fault.place()?, Mutex::default()))).collect();
    thread::scope(|scope| {
        for step in plan {
            tend_until(system, &mut done, || started.elapsed() >= step.at);
            *done.faults.entry(name(&step.fault)).or_default() += 1;
            let place = step.fault.place().and_then(|place| places.get(&place));
            scope.spawn(move || {
                let _alone = place.map(|place| place.lock().unwrap_or_else(PoisonError::into_inner));
                inflict(system, step.fault);
            });
        }
        tend_until(system, &mut done, || started.elapsed() >= lasting);
    });
    done
}

fn tend_until(system: &System, done: &mut Done, mut reached: impl FnMut() -> bool) {
    while !reached() {
        tend(system, done);
        thread::sleep(TEND);
    }
}

/// Starts again what ended by itself, and counts it.
pub fn tend(system: &System, done: &mut Done) {
    for name in system.tend() {
        *done.restarted.entry(name).or_default() += 1;
    }
}

/// Returns when the fault is over.
fn inflict(system: &System, fault: Fault) {
    match fault {
        Fault::Kill { target, down } => {
            system.kill(target);
            thread::sleep(down);
            system.start_again(target);
        }
        Fault::Stop { target, down } => {
            system.stop(target);
            thread::sleep(down);
            system.start_again(target);
        }
        Fault::Freeze { target, lasting } => {
            system.pause(target);
            thread::sleep(lasting);
            system.resume(target);
        }
        Fault::Swap { plugin } => {
            // The folder is this run's own: a failure is a full disk, and then nothing here means anything.
            #[allow(clippy::panic, reason = "a broken machine ends the run")]
            system.swap(plugin).unwrap_or_else(|error| panic!("cannot swap a plugin: {error:#}"));
        }
        Fault::Cut { link } => cut(system, link),
        Fault::Delay { link, by, lasting } => during(system, link, Weather::Late(by), lasting),
        Fault::Stall { link, lasting } => during(system, link, Weather::Still, lasting),
        Fault::Mute { link, lasting } => {
            if let Some(proxy) = system.proxy(link) {
                proxy.set(Weather::Mute);
                thread::sleep(lasting);
                proxy.cut();
                proxy.set(Weather::Fair);
            }
        }
    }
}

fn cut(system: &System, link: Link) {
    if let Some(proxy) = system.proxy(link) {
        proxy.cut();
    }
}

fn during(system: &System, link: Link, weather: Weather, lasting: Duration) {
    if let Some(proxy) = system.proxy(link) {
        proxy.set(weather);
        thread::sleep(lasting);
        proxy.set(Weather::Fair);
    }
}

/// As the table counts it.
fn name(fault: &Fault) -> String {
    let of = |target: &Target| match target {
        Target::Host(_) => "host",
        Target::Worker(_) => "worker",
        Target::Redis => "Redis",
        Target::Postgres => "PostgreSQL",
        Target::Nginx => "nginx",
    };
    match fault {
        Fault::Kill { target, .. } | Fault::Stop { target, .. } | Fault::Freeze { target, .. } => {
            format!("{} {}", fault.kind(), of(target))
        }
        Fault::Swap { .. } => fault.kind().to_owned(),
        Fault::Cut { link }
        | Fault::Delay { link, .. }
        | Fault::Stall { link, .. }
        | Fault::Mute { link, .. } => {
            format!("{} {}", fault.kind(), of(&link.server.target()))
        }
    }
}
