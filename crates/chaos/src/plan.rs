//! What goes wrong, in which order, for how long. A pure function of the seed, so that a run can be repeated.

use std::fmt;
use std::time::Duration;

/// Longest rest between two steps, in milliseconds: long enough for work to be done, short enough that it is
/// interrupted.
const REST_MS: u64 = 1_500;
/// Longest time that a fault lasts, in milliseconds. Longer than a worker may be silent before its messages go to
/// another (`--reclaim-idle`), so that stopped workers wake up to find that they were robbed.
const LASTS_MS: u64 = 5_000;
/// Share of the steps with two faults at once, in percent.
const DOUBLE_PERCENT: u8 = 25;

/// A process of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// One of the two hosts.
    Host(usize),
    /// One of the two workers.
    Worker(usize),
    /// The queue's server.
    Redis,
    /// The store's server.
    Postgres,
    /// The proxy before the hosts.
    Nginx,
}

/// The connections of all hosts and workers to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// To Redis.
    Queue,
    /// To PostgreSQL.
    Store,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and a start after a while.
    Kill(Target),
    /// SIGTERM, and a start after a while.
    Terminate(Target),
    /// SIGSTOP, and SIGCONT after a while.
    Freeze(Target),
    /// Connections are cut, and refused for a while.
    Cut(Link),
    /// Every packet is late, for a while.
    Delay(Link),
    /// Another version of the transform plugin.
    Swap,
}

/// What goes wrong at once, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long all is well before it.
    pub rest: Duration,
    /// One or two, of different parts.
    pub faults: Vec<Fault>,
    /// How long it stays so.
    pub lasts: Duration,
}

const TARGETS: [Target; 7] = [
    Target::Host(0),
    Target::Host(1),
    Target::Worker(0),
    Target::Worker(1),
    Target::Redis,
    Target::Postgres,
    Target::Nginx,
];

/// The steps that follow from a seed, without end.
pub fn steps(seed: u64) -> impl Iterator<Item = Step> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::from_fn(move || Some(step(&mut random)))
}

fn step(random: &mut fastrand::Rng) -> Step {
    let mut faults = vec![fault(random)];
    if random.u8(..100) < DOUBLE_PERCENT {
        let other = fault(random);
        if faults.iter().all(|fault| fault.part() != other.part()) {
            faults.push(other);
        }
    }
    let mut millis = |most| Duration::from_millis(random.u64(100..=most));
    Step { rest: millis(REST_MS), faults, lasts: millis(LASTS_MS) }
}

fn fault(random: &mut fastrand::Rng) -> Fault {
    let target = random.choice(TARGETS).unwrap_or(Target::Redis);
    let link = if random.bool() { Link::Queue } else { Link::Store };
    match random.u8(..10) {
        0..4 => Fault::Kill(target),
        4..5 => Fault::Terminate(target),
        5..7 => Fault::Freeze(target),
        7 => Fault::Cut(link),
        8 => Fault::Delay(link),
        _ => Fault::Swap,
    }
}

impl Fault {
    /// What it happens to, so that one part is not broken twice at once.
    fn part(self) -> Option<Target> {
        match self {
            Self::Kill(target) | Self::Terminate(target) | Self::Freeze(target) => Some(target),
            Self::Cut(Link::Queue) | Self::Delay(Link::Queue) => Some(Target::Redis),
            Self::Cut(Link::Store) | Self::Delay(Link::Store) => Some(Target::Postgres),
            Self::Swap => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(target) => write!(f, "kill -9 {target}"),
            Self::Terminate(target) => write!(f, "terminate {target}"),
            Self::Freeze(target) => write!(f, "freeze {target}"),
            Self::Cut(link) => write!(f, "cut the connections to {link}"),
            Self::Delay(link) => write!(f, "delay the connections to {link}"),
            Self::Swap => f.write_str("swap a plugin"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(number) => write!(f, "host {}", number + 1),
            Self::Worker(number) => write!(f, "worker {}", number + 1),
            Self::Redis => f.write_str("Redis"),
            Self::Postgres => f.write_str("PostgreSQL"),
            Self::Nginx => f.write_str("nginx"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "Redis",
            Self::Store => "PostgreSQL",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_and_another_seed_another() {
        let plan = |seed| steps(seed).take(50).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn in_some_minutes_every_fault_happens_to_every_part() {
        let found: BTreeSet<String> =
            steps(7).take(1_000).flat_map(|step| step.faults).map(|fault| fault.to_string()).collect();
        // Three things to each of seven processes, two to each of two links, and the swap.
        assert_eq!(found.len(), 3 * 7 + 2 * 2 + 1, "{found:?}");
    }

    #[test]
    fn no_part_is_broken_twice_at_once() {
        for step in steps(3).take(1_000) {
            let parts: BTreeSet<_> = step.faults.iter().map(|fault| fault.part()).collect();
            assert_eq!(parts.len(), step.faults.len(), "{step:?}");
        }
    }
}
