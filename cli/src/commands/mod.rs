//! What each command does once its settings are right.

pub mod health;
pub mod host;
pub mod load;
pub mod up;
pub mod worker;
