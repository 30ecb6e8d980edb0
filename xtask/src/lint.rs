//! `cargo xtask lint`: form, warnings, licences and sources.

use crate::cmd::{self, Outcome};
use crate::paths;

pub const HELP: &str = "\
lint  check the form (rustfmt), warnings (clippy), licences and sources (cargo-deny)

cargo-deny is installed with `cargo install` when it is missing.";

pub fn run(args: &[String]) -> Outcome<()> {
    if !args.is_empty() {
        return Err(format!("unknown arguments {args:?}; lint takes none"));
    }
    form()?;
    dependencies()?;
    warnings()
}

/// rustfmt over the workspace.
pub fn form() -> Outcome<()> {
    cargo(&["fmt", "--all", "--check"])
}

/// Clippy over everything, warnings as errors.
pub fn warnings() -> Outcome<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// The rules of deny.toml.
pub fn dependencies() -> Outcome<()> {
    if !cmd::exists("cargo-deny") {
        println!("checking licences needs cargo-deny: installing it with cargo (some minutes)");
        // Unoptimised, which takes a fraction of the time to build and is as quick at what there is to check.
        cargo(&["install", "--locked", "--debug", "cargo-deny"])?;
    }
    cargo(&["deny", "check", "licenses", "bans", "sources"])
}

fn cargo(args: &[&str]) -> Outcome<()> {
    cmd::run(cmd::cargo().args(args).current_dir(paths::root()))
}
