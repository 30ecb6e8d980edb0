//! `cargo xtask`: build, test and run Sawpit on a machine that has only Rust.
//!
//! The key decision: each command first makes sure of what it needs, says what it installs before it does,
//! and then runs plain cargo. Nothing is skipped because something is missing.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks to its user")]

mod app;
mod authors;
mod bench;
mod chaos;
mod ci;
mod cmd;
mod fuzz;
mod guests;
#[cfg(test)]
mod layers;
mod lint;
mod packages;
mod paths;
mod test;
mod toolchain;

use std::process::ExitCode;

use cmd::Outcome;

/// What a person can type after `cargo xtask`.
struct Command {
    name: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Outcome<()>,
}

const COMMANDS: [Command; 9] = [
    Command { name: "run", help: app::HELP, run: app::run },
    Command { name: "test", help: test::HELP, run: test::run },
    Command { name: "tools", help: test::TOOLS_HELP, run: test::tools },
    Command { name: "plugins", help: guests::HELP, run: guests::run },
    Command { name: "bench", help: bench::HELP, run: bench::run },
    Command { name: "chaos", help: chaos::HELP, run: chaos::run },
    Command { name: "fuzz", help: fuzz::HELP, run: fuzz::run },
    Command { name: "lint", help: lint::HELP, run: lint::run },
    Command { name: "ci", help: ci::HELP, run: ci::run },
];

/// Exit code of a wrong command line, as in the `sawpit` program (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else { return usage() };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else { return usage() };
    if asks_for_help(rest) {
        println!("{}", command.help);
        return ExitCode::SUCCESS;
    }
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `--help` before a `--`; what follows `--` belongs to the program that is run.
fn asks_for_help(args: &[String]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h")
}

fn usage() -> ExitCode {
    let asked = std::env::args().nth(1).is_none_or(|arg| arg == "--help" || arg == "-h" || arg == "help");
    let mut text = String::from("cargo xtask COMMAND [--help]\n");
    for command in &COMMANDS {
        let line = command.help.lines().next().unwrap_or_default();
        text += &format!("\n  {line}");
    }
    if asked {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    eprintln!("{text}\n\nunknown command");
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn help_of_the_program_that_is_run_is_not_ours() {
        assert!(asks_for_help(&words("--release --help")));
        assert!(!asks_for_help(&words("-- --help")));
    }

    #[test]
    fn every_help_opens_with_the_command() {
        for command in &COMMANDS {
            assert!(command.help.starts_with(command.name), "{}", command.name);
        }
    }
}
