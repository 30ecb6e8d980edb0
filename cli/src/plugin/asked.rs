//! Arguments that several of the commands take.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::paint::Paint;

const WASM: &str = "wasm";
const JSON: &str = "json";
const LOGS: &str = "logs";
const COLOR: &str = "color";

/// The file that the command is about.
pub fn wasm() -> Arg {
    Arg::new(WASM)
        .value_name("X.wasm")
        .help("The plugin; its manifest is X.toml beside it")
        .value_parser(value_parser!(PathBuf))
        .required(true)
}

/// For machines.
pub fn json() -> Arg {
    Arg::new(JSON).long(JSON).help("Answer as one JSON document").action(ArgAction::SetTrue)
}

/// The file of [`wasm`].
pub fn wasm_of(flags: &ArgMatches) -> PathBuf {
    flags.get_one::<PathBuf>(WASM).cloned().unwrap_or_default()
}

/// Whether [`json`] was given; not every command takes it.
pub fn is_json(flags: &ArgMatches) -> bool {
    flags.try_get_one::<bool>(JSON).is_ok_and(|given| given == Some(&true))
}

/// What to run the plugin on.
pub fn logs() -> Arg {
    Arg::new(LOGS)
        .long(LOGS)
        .value_name("F.ndjson")
        .help("Logs as they are posted to /api/log, one a line; - is standard input. A few varied ones unless given")
        .value_parser(value_parser!(PathBuf))
}

/// The file of [`logs`].
pub fn logs_of(flags: &ArgMatches) -> Option<PathBuf> {
    flags.get_one::<PathBuf>(LOGS).cloned()
}

/// Whether to colour.
pub fn color() -> Arg {
    Arg::new(COLOR)
        .long(COLOR)
        .value_name("WHEN")
        .help("Colour the answer; auto: on a terminal, unless NO_COLOR is set")
        .value_parser(["auto", "always", "never"])
        .default_value("auto")
}

/// As [`color`] says.
pub fn paint(flags: &ArgMatches) -> Paint {
    let when = flags.get_one::<String>(COLOR).map_or("auto", String::as_str);
    Paint::new(when, sawpit_service::settings::process_env("NO_COLOR"))
}
