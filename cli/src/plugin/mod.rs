//! `sawpit plugin …`: what the author of a plugin needs. All of it works offline and without a server.
//!
//! What a command works with (limits, time-outs) are settings, the same as a host's. What is asked of it (a
//! file, `--json`) are arguments only: no variable and no file stands in for them.

mod asked;
mod bench;
mod build;
mod diff;
mod explain;
mod heard;
mod inspect;
mod logs;
mod new;
mod paint;
mod sign;
mod steps;
mod template;
mod test;

use std::io::Write;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use sawpit_service::settings::SettingsErrors;
use sawpit_service::{Exit, SettingSpec};
use serde::Serialize;

use crate::settings;

/// What is typed after `sawpit` to get here.
pub const NAME: &str = "plugin";

/// What can be typed after `sawpit plugin`.
struct Entry {
    name: &'static str,
    about: &'static str,
    args: fn() -> Vec<Arg>,
    specs: fn() -> Vec<SettingSpec>,
    run: fn(&ArgMatches) -> Result<Exit, Stop>,
}

const ENTRIES: [Entry; 9] = [
    Entry {
        name: "new",
        about: "Makes a project that builds and passes its own test at once",
        args: new::args,
        specs: new::specs,
        run: new::run,
    },
    Entry {
        name: "build",
        about: "Builds a project's .wasm, or says what is missing for that",
        args: build::args,
        specs: build::specs,
        run: build::run,
    },
    Entry {
        name: "inspect",
        about: "Says what a .wasm file is, and whether it would load here and why not",
        args: inspect::args,
        specs: settings::plugin_command::specs,
        run: inspect::run,
    },
    Entry {
        name: "explain",
        about: "Shows one log on its way through a folder of plugins: who changed what, and how long it took",
        args: explain::args,
        specs: settings::plugin_command::specs,
        run: explain::run,
    },
    Entry {
        name: "test",
        about: "Runs logs through one plugin and shows what it makes of each",
        args: test::args,
        specs: settings::plugin_command::specs,
        run: test::run,
    },
    Entry {
        name: "bench",
        about: "Measures what a plugin costs: fuel, time, bytes, memory",
        args: bench::args,
        specs: settings::plugin_command::specs,
        run: bench::run,
    },
    Entry {
        name: "keygen",
        about: "Makes a key to sign plugins with",
        args: sign::keygen_args,
        specs: sign::specs,
        run: sign::keygen,
    },
    Entry {
        name: "sign",
        about: "Signs plugins and their manifests, for hosts that run with --require-signature",
        args: sign::sign_args,
        specs: sign::specs,
        run: sign::sign,
    },
    Entry {
        name: "verify",
        about: "Says whether a trusted key signed a plugin and its manifest",
        args: sign::verify_args,
        specs: sign::specs,
        run: sign::verify,
    },
];

/// Why a command ends without having done its work.
enum Stop {
    Settings(SettingsErrors),
    /// It was asked in a wrong way.
    Usage(anyhow::Error),
    /// A file does not pass. The first is what is then false in the answer for machines.
    Refused(&'static str, Refusal),
    Failed(anyhow::Error),
}

/// A file that does not pass, and why.
struct Refusal {
    file: PathBuf,
    why: String,
}

/// The answer for machines that stands for all other answers.
#[derive(Serialize)]
struct NoAnswer {
    error: String,
}

impl From<SettingsErrors> for Stop {
    fn from(errors: SettingsErrors) -> Self {
        Self::Settings(errors)
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// The nested commands for clap.
pub fn command() -> Command {
    let subcommands = ENTRIES.iter().map(|entry| {
        Command::new(entry.name)
            .about(entry.about)
            .args((entry.args)())
            .args(sawpit_service::settings::args(&(entry.specs)()))
    });
    Command::new(NAME)
        .about("For authors of plugins: make one, look at it, try it, measure it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(subcommands)
}

/// Runs the nested command that was typed.
pub fn run(flags: &ArgMatches) -> Exit {
    let chosen =
        flags.subcommand().and_then(|(name, flags)| Some((ENTRIES.iter().find(|e| e.name == name)?, flags)));
    let Some((entry, flags)) = chosen else { return Exit::Usage };
    match (entry.run)(flags) {
        Ok(exit) => exit,
        Err(Stop::Settings(errors)) => settings::refuse(&errors),
        Err(Stop::Usage(error)) => end(flags, &NoAnswer { error: format!("{error:#}") }, &error, Exit::Usage),
        Err(Stop::Failed(error)) => {
            end(flags, &NoAnswer { error: format!("{error:#}") }, &error, Exit::Failed)
        }
        Err(Stop::Refused(what, Refusal { file, why })) => {
            let answer = serde_json::json!({ what: false, "refusal": why });
            end(flags, &answer, &anyhow::Error::msg(why).context(file.display().to_string()), Exit::Failed)
        }
    }
}

/// Says it to people, and to machines where one asks.
fn end(flags: &ArgMatches, answer: &impl Serialize, error: &anyhow::Error, exit: Exit) -> Exit {
    complain(&format!("{error:#}"));
    if asked::is_json(flags) {
        // An answer of texts and truth values can be written.
        let _ = print_json(answer);
    }
    exit
}

/// Says what is wrong. Nothing can be done when the terminal is gone.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints the answer. A reader that has gone (`| head`) wants no more of it.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints the answer for machines.
fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(answer)? + "\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_command_has_a_setting_twice_or_under_the_name_of_an_argument() {
        for entry in &super::ENTRIES {
            let specs = (entry.specs)();
            let mut names: Vec<_> = specs.iter().map(|spec| spec.name.to_owned()).collect();
            names.extend((entry.args)().iter().map(|arg| arg.get_id().to_string()));
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", entry.name);
        }
    }
}
