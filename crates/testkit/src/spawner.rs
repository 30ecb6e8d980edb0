//! One thread that starts every child process, so that children die with the test process and not before.
//!
//! The kernel's parent-death signal fires when the *thread* that forked ends. A server that one test starts
//! and others share would die with the first test's thread; this thread lives as long as the process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

type Order = (Command, Sender<io::Result<Child>>);

static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();

/// Starts `command`; the kernel sends it `on_orphaned` when this process ends, however it ends.
pub(crate) fn spawn(mut command: Command, on_orphaned: Signal) -> io::Result<Child> {
    die_with_parent(&mut command, on_orphaned);
    let (reply, answer) = channel();
    let orders = SPAWNER.get_or_init(start_thread);
    orders.send((command, reply)).expect("the spawner thread lives as long as the process");
    answer.recv().expect("the spawner thread answers each order")
}

fn start_thread() -> Sender<Order> {
    let (orders, inbox) = channel::<Order>();
    thread::Builder::new()
        .name("testkit-spawner".into())
        .spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that is gone has no use for the child; dropping the handle leaves it running, but
                // only a panic between send and recv could lead here, and that ends the process.
                let _ = reply.send(command.spawn());
            }
        })
        .expect("cannot start a thread");
    orders
}

fn die_with_parent(command: &mut Command, on_orphaned: Signal) {
    let parent = rustix::process::getpid();
    let arm = move || {
        set_parent_process_death_signal(Some(on_orphaned))?;
        // The parent may have died between fork and the line above: then no signal will come.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::other("the test process is gone")) }
    };
    // SAFETY: between fork and exec only async-signal-safe work is allowed. `arm` makes two system calls
    // (prctl, getppid) through rustix, takes no lock and allocates only on the path that gives up.
    unsafe { command.pre_exec(arm) };
}
