//! `cargo xtask ci`: all that must hold before a change is taken, the cheapest first.

use crate::cmd::{self, Outcome};
use crate::{lint, paths, test};

pub const HELP: &str = "\
ci  what must pass before a change is taken: form, lock file, licences, tests, warnings";

pub fn run(args: &[String]) -> Outcome<()> {
    if !args.is_empty() {
        return Err(format!("unknown arguments {args:?}; ci takes none"));
    }
    lint::form()?;
    // A lock file that does not fit the manifests would be mended silently by every step below.
    cmd::run(cmd::cargo().args(["fetch", "--locked"]).current_dir(paths::root()))?;
    lint::dependencies()?;
    test::run(&[])?;
    lint::warnings()
}
