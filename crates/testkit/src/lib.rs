//! Real servers on free ports, for tests only.
//!
//! The key decision: nothing here stands in for a server. A test gets its own `redis-server`, `postgres` or
//! `nginx` process in a temporary folder, may kill, pause and restart it, and leaves nothing behind: dropping
//! a server ends it, and the kernel ends it should the test process die first.
//!
//! What goes wrong here is the machine's fault, not the code's under test, so the kit panics with a sentence
//! that names the command which mends it, and with the server's own output.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test kit reports a broken machine by failing the test"
)]

mod collector;
mod guest;
mod nginx;
mod plugins;
mod ports;
mod postgres;
mod process;
mod program;
mod redis;
mod redis_cluster;
mod resp;
mod spawner;
mod temp;
mod tree;

pub use collector::{CollectedSpan, Collector};
pub use guest::{ANSWER, ENDLESS, Guest, TRAP, answer, on_letter, put};
pub use nginx::{Nginx, nginx_conf};
pub use plugins::{GUESTS, plugins_dir, scramble, workspace_root};
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::{Launch, Process};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use rustix::process::Signal;
pub use temp::TempFolder;
