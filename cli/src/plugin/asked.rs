//! Arguments that several of the commands take.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

const WASM: &str = "wasm";
const JSON: &str = "json";

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

/// Whether [`json`] was given.
pub fn is_json(flags: &ArgMatches) -> bool {
    flags.get_flag(JSON)
}
