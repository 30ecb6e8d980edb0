//! What is broken when: a pure function of the seed, so that a run can be repeated.
//!
//! A target is never hit again before it had the time to come back: two kills of a process that is not up yet are
//! one. Different targets are hit at the same time, which is where the interesting orders come from.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// Hosts of the system.
pub const HOSTS: usize = 2;
/// Workers of the system.
pub const WORKERS: usize = 2;
/// Clients of the servers: the hosts, then the workers.
pub const CLIENTS: usize = HOSTS + WORKERS;
/// Time that a target is left alone after it was put right.
const REST: Duration = Duration::from_secs(2);
/// Draws for a fault whose target is free, before a plugin is swapped instead.
const DRAWS: usize = 16;

/// A process, or for the servers a group of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// One of [`HOSTS`].
    Host(usize),
    /// One of [`WORKERS`].
    Worker(usize),
    /// The queue.
    Redis,
    /// The store.
    Postgres,
    /// The door.
    Nginx,
}

/// What a host or a worker is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// The queue.
    Redis,
    /// The store.
    Postgres,
}

impl Server {
    /// The process at the other end.
    #[must_use]
    pub const fn target(self) -> Target {
        match self {
            Self::Redis => Target::Redis,
            Self::Postgres => Target::Postgres,
        }
    }
}

/// All connections of one client to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// One of [`CLIENTS`].
    pub client: usize,
    /// Whom it speaks to.
    pub server: Server,
}

impl Link {
    /// Where its proxy is in the list of all.
    pub fn place(self) -> usize {
        self.client * 2 + usize::from(self.server == Server::Postgres)
    }
}

/// One thing that goes wrong, and how it is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again after a while.
    Kill {
        /// Who.
        target: Target,
        /// For how long it is away.
        down: Duration,
    },
    /// SIGTERM (for PostgreSQL its fast shutdown); started again after a while.
    Stop {
        /// Who.
        target: Target,
        /// For how long it is away.
        down: Duration,
    },
    /// SIGSTOP, and after a while SIGCONT.
    Freeze {
        /// Who.
        target: Target,
        /// For how long.
        lasting: Duration,
    },
    /// A plugin's files are replaced by those of a version that does other things with logs, by rename.
    Swap {
        /// Place among [`sawpit_testkit::GUESTS`].
        plugin: usize,
    },
    /// The connections are closed.
    Cut {
        /// Which.
        link: Link,
    },
    /// Everything arrives late.
    Delay {
        /// Which.
        link: Link,
        /// By how much.
        by: Duration,
        /// For how long.
        lasting: Duration,
    },
    /// Nothing arrives; afterwards all of it does.
    Stall {
        /// Which.
        link: Link,
        /// For how long.
        lasting: Duration,
    },
    /// Requests arrive, answers do not; then the connections are closed, and how the requests ended stays unknown.
    Mute {
        /// Which.
        link: Link,
        /// For how long.
        lasting: Duration,
    },
}

impl Fault {
    /// Its kind, as the table names it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill -9",
            Self::Stop { .. } => "SIGTERM",
            Self::Freeze { .. } => "SIGSTOP",
            Self::Swap { .. } => "plugin swap",
            Self::Cut { .. } => "cut",
            Self::Delay { .. } => "delay",
            Self::Stall { .. } => "stall",
            Self::Mute { .. } => "answers lost",
        }
    }

    fn lasting(&self) -> Duration {
        match *self {
            Self::Kill { down, .. } | Self::Stop { down, .. } => down,
            Self::Freeze { lasting, .. }
            | Self::Delay { lasting, .. }
            | Self::Stall { lasting, .. }
            | Self::Mute { lasting, .. } => lasting,
            Self::Swap { .. } | Self::Cut { .. } => Duration::ZERO,
        }
    }

    /// Where it happens; nothing when it can happen at any time.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match *self {
            Self::Kill { target, .. } | Self::Stop { target, .. } | Self::Freeze { target, .. } => {
                Some(Place::Target(target))
            }
            Self::Cut { link }
            | Self::Delay { link, .. }
            | Self::Stall { link, .. }
            | Self::Mute { link, .. } => Some(Place::Link(link)),
            Self::Swap { .. } => None,
        }
    }
}

/// Where a fault happens: one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// To a process.
    Target(Target),
    /// On connections.
    Link(Link),
}

/// A fault and when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// After the start of the load.
    pub at: Duration,
    /// What goes wrong.
    pub fault: Fault,
}

/// The faults of a run that lasts so long.
#[must_use]
pub fn plan(seed: u64, lasting: Duration) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    let mut busy: BTreeMap<Place, Duration> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += millis(&mut random, 150, 1_500);
        if at >= lasting {
            return steps;
        }
        let free = |fault: &Fault| match fault.place() {
            Some(place) => busy.get(&place).is_none_or(|until| *until <= at),
            None => true,
        };
        let drawn = (0..DRAWS).map(|_| draw(&mut random)).find(free);
        let fault = drawn.unwrap_or(Fault::Swap { plugin: 0 });
        if let Some(place) = fault.place() {
            busy.insert(place, at + fault.lasting() + REST);
        }
        steps.push(Step { at, fault });
    }
}

fn draw(random: &mut Rng) -> Fault {
    match random.u32(0..100) {
        0..24 => Fault::Kill { target: target(random), down: millis(random, 0, 4_000) },
        24..38 => Fault::Stop { target: target(random), down: millis(random, 0, 4_000) },
        38..60 => Fault::Freeze { target: target(random), lasting: millis(random, 100, 9_000) },
        60..67 => Fault::Swap { plugin: random.usize(0..sawpit_testkit::GUESTS.len()) },
        67..76 => Fault::Cut { link: link(random) },
        76..82 => Fault::Delay {
            link: link(random),
            by: millis(random, 5, 400),
            lasting: millis(random, 500, 6_000),
        },
        82..90 => Fault::Stall { link: link(random), lasting: millis(random, 200, 9_000) },
        _ => Fault::Mute { link: link(random), lasting: millis(random, 50, 3_000) },
    }
}

/// Workers most: what they were delivered and did not settle is where logs are lost or doubled.
fn target(random: &mut Rng) -> Target {
    match random.u32(0..100) {
        0..50 => Target::Worker(random.usize(0..WORKERS)),
        50..68 => Target::Host(random.usize(0..HOSTS)),
        68..82 => Target::Redis,
        82..94 => Target::Postgres,
        _ => Target::Nginx,
    }
}

fn link(random: &mut Rng) -> Link {
    let server = if random.bool() { Server::Redis } else { Server::Postgres };
    Link { client: random.usize(0..CLIENTS), server }
}

fn millis(random: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.u64(from..to))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(plan(7, LONG), plan(7, LONG));
        assert_ne!(plan(7, LONG), plan(8, LONG));
    }

    #[test]
    fn a_longer_run_begins_as_the_shorter_one() {
        let (short, long) = (plan(7, LONG / 10), plan(7, LONG));
        assert_eq!(long[..short.len()], short[..]);
        assert!(short.iter().all(|step| step.at < LONG / 10));
    }

    #[test]
    fn every_kind_of_fault_hits_every_target() {
        let steps = plan(1, LONG * 6);
        let of = |kind: &str| -> BTreeSet<_> {
            steps
                .iter()
                .filter(|step| step.fault.kind() == kind)
                .filter_map(|step| step.fault.place())
                .collect()
        };
        for kind in ["kill -9", "SIGTERM", "SIGSTOP"] {
            assert_eq!(of(kind).len(), CLIENTS + 3, "{kind}");
        }
        for kind in ["cut", "delay", "stall", "answers lost"] {
            assert_eq!(of(kind).len(), CLIENTS * 2, "{kind}");
        }
        let swapped: BTreeSet<_> = steps
            .iter()
            .filter_map(|step| match step.fault {
                Fault::Swap { plugin } => Some(plugin),
                _ => None,
            })
            .collect();
        assert_eq!(swapped, BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn a_target_is_left_alone_until_it_is_back() {
        let mut free_at: BTreeMap<Place, Duration> = BTreeMap::new();
        for Step { at, fault } in plan(3, LONG) {
            let Some(place) = fault.place() else { continue };
            assert!(free_at.get(&place).is_none_or(|until| *until <= at), "{fault:?}");
            free_at.insert(place, at + fault.lasting() + REST);
        }
    }
}
