//! The `sawpit` program. This file is its table of contents; each command is a file in `commands/`.
//!
//! A command resolves all its settings before it opens anything, so that every mistake is reported at once
//! and no port is bound by a process that cannot work.

mod commands;
mod dead;
mod index;
mod load;
mod parts;
mod plugin;
mod provenance;
mod settings;
mod token;

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use sawpit_service::Exit;

/// A request makes many small allocations, on one thread, and often frees them on another: with glibc's allocator that was
/// a fifth of a host's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What can be typed after `sawpit`.
struct Entry {
    name: &'static str,
    about: &'static str,
    specs: fn() -> Vec<sawpit_service::SettingSpec>,
    run: fn(&ArgMatches) -> Exit,
}

const ENTRIES: [Entry; 5] = [
    Entry {
        name: "up",
        about: "Host and worker in one process, with an embedded queue and store",
        specs: settings::up::specs,
        run: commands::up::run,
    },
    Entry {
        name: "host",
        about: "The HTTP side: takes logs, answers queries",
        specs: settings::host_command::specs,
        run: commands::host::run,
    },
    Entry {
        name: "worker",
        about: "The batch side: transforms and stores",
        specs: settings::worker_command::specs,
        run: commands::worker::run,
    },
    Entry {
        name: "load",
        about: "Posts as many devices would, and says how it went",
        specs: settings::load::specs,
        run: commands::load::run,
    },
    Entry {
        name: "health",
        about: "Asks a running process whether it is ready; for health checks of containers",
        specs: settings::health::specs,
        run: commands::health::run,
    },
];

fn main() -> ExitCode {
    let flags = match command().try_get_matches() {
        Ok(flags) => flags,
        Err(error) => return usage(&error).into(),
    };
    if let Some((plugin::NAME, flags)) = flags.subcommand() {
        return plugin::run(flags).into();
    }
    if let Some((dead::NAME, flags)) = flags.subcommand() {
        return dead::run(flags).into();
    }
    if let Some((token::NAME, flags)) = flags.subcommand() {
        return token::run(flags).into();
    }
    if let Some((index::NAME, flags)) = flags.subcommand() {
        return index::run(flags).into();
    }
    let chosen =
        flags.subcommand().and_then(|(name, flags)| Some((ENTRIES.iter().find(|e| e.name == name)?, flags)));
    match chosen {
        Some((entry, flags)) => (entry.run)(flags).into(),
        None => Exit::Usage.into(),
    }
}

fn command() -> Command {
    let subcommands = ENTRIES.iter().map(|entry| {
        Command::new(entry.name).about(entry.about).args(sawpit_service::settings::args(&(entry.specs)()))
    });
    Command::new("sawpit")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Log ingest that you extend with WebAssembly")
        .after_help(
            "Each setting is a flag, a variable SAWPIT_<FLAG> and a key of sawpit.toml, in that order of precedence.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(subcommands)
        .subcommand(plugin::command())
        .subcommand(dead::command())
        .subcommand(token::command())
        .subcommand(index::command())
}

/// clap's own words; help and version are not mistakes.
fn usage(error: &clap::Error) -> Exit {
    // Nothing can be done when the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn no_command_has_a_setting_twice() {
        for entry in &super::ENTRIES {
            let mut names: Vec<_> = (entry.specs)().iter().map(|spec| spec.name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", entry.name);
        }
    }
}
