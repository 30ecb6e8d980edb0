//! The worker on real queues and real databases.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

mod embedded;
mod model;
mod poison;
mod servers;
mod traced;
mod world;
