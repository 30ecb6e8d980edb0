//! `sawpit plugin …` as it is typed, and what it said.
#![allow(clippy::panic, reason = "a test may fail by panicking")]

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::run;

pub const DONE: Option<i32> = Some(0);
pub const FAILED: Option<i32> = Some(1);
pub const USAGE: Option<i32> = Some(64);

/// Runs `sawpit plugin …`.
pub fn plugin(args: &[&str]) -> Output {
    run(&[&["plugin"], args].concat())
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", out(output), err(output)))
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
