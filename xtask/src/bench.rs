//! `cargo xtask bench`: figures of the release build on real servers.

use std::process::Command;

use crate::cmd::{self, Outcome};
use crate::{guests, paths, test};

pub const HELP: &str = "\
bench [SECONDS]  measure host, worker and plugin calls; prints a table with ratios
bench growth [ROWS...]  measure queries while the table grows, and what the search indexes cost

Builds in release mode. Needs redis-server, PostgreSQL 15 or newer and wrk, installed with apt-get when
missing. SECONDS is the length of each measurement of the host, 5 unless given. ROWS are 100000 and 1000000 unless
given; ten million take half an hour.";

pub fn run(args: &[String]) -> Outcome<()> {
    let seconds = match args {
        [first, rows @ ..] if first == "growth" => return growth(rows),
        [] => "5",
        [seconds] if seconds.parse::<u32>().is_ok_and(|n| n > 0) => seconds,
        _ => return Err(format!("unknown arguments {args:?}; see --help")),
    };
    test::install_servers()?;
    test::install_wrk()?;
    guests::build_any()?;
    build()?;
    let built = paths::target("release")?;
    let mut bench = Command::new(built.join("sawpit-bench"));
    bench.arg(built.join("sawpit")).arg(built.join("examples/call_cost"));
    cmd::run(bench.arg(paths::built_plugins()).arg(seconds))
}

/// On either database.
fn growth(rows: &[String]) -> Outcome<()> {
    if let Some(wrong) = rows.iter().find(|rows| rows.parse::<u64>().is_err()) {
        return Err(format!("{wrong:?} is no count of rows; see --help"));
    }
    test::install_servers()?;
    build()?;
    let usual = ["100000".to_owned(), "1000000".to_owned()];
    let rows = if rows.is_empty() { &usual } else { rows };
    for database in ["postgres", "sqlite"] {
        println!("\n{database}");
        let mut bench = Command::new(paths::target("release")?.join("sawpit-bench"));
        cmd::run(bench.arg("growth").arg(database).args(rows))?;
    }
    Ok(())
}

/// All in one call, so that the libraries are built once.
fn build() -> Outcome<()> {
    let packages = ["--package=sawpit", "--package=sawpit-bench", "--package=sawpit-plugins"];
    let mut cargo = cmd::cargo();
    cargo.args(["build", "--release", "--bins", "--example=call_cost"]).args(packages);
    cmd::run(cargo.current_dir(paths::root()))
}
