//! The example plugins, compiled to WebAssembly.

use std::fs;
use std::path::Path;

use crate::cmd::{self, Outcome};
use crate::paths;
use crate::toolchain::{TARGET, Toolchain};

pub const HELP: &str = "\
plugins [--debian]  build the example plugins into target/plugins/ and plugins.d/

Core modules for wasm32-unknown-unknown; the host makes components of them. Uses the active Rust toolchain,
adding the target with rustup when it is missing, else Debian's rustc-web (--debian: that one in any case).
A NAME.toml that is already in plugins.d/ is kept.";

/// The crates in plugins/ that are plugins.
const GUESTS: [&str; 3] = ["enrich", "filter", "transform"];

/// The plugin of tests, whose crate is in crates/testkit/; it is not offered.
const TEST_GUEST: &str = "scramble";

pub fn run(args: &[String]) -> Outcome<()> {
    let toolchain = match args {
        [] => Toolchain::find()?,
        [flag] if flag == "--debian" => Toolchain::debian()?,
        _ => return Err(format!("unknown arguments {args:?}; see --help")),
    };
    build(toolchain)?;
    offer()
}

/// Builds into target/plugins/ with whatever toolchain there is.
pub fn build_any() -> Outcome<()> {
    build(Toolchain::find()?)
}

fn build(toolchain: Toolchain) -> Outcome<()> {
    let mut command = toolchain.cargo_build()?;
    command.args(["--profile", "guest"]).args(GUESTS.map(|name| format!("--package={name}")));
    command.arg("--target-dir").arg(toolchain.target_dir()).current_dir(paths::root());
    command.arg(format!("--package={TEST_GUEST}"));
    cmd::run(&mut command)?;
    let built = toolchain.target_dir().join(TARGET).join("guest");
    let wasm = format!("{TEST_GUEST}.wasm");
    copy(&built.join(&wasm), &paths::built_plugins().join("test").join(&wasm))?;
    for name in GUESTS {
        let wasm = format!("{name}.wasm");
        copy(&built.join(&wasm), &paths::built_plugins().join(&wasm))?;
        let manifest = format!("{name}.toml");
        copy(
            &paths::root().join("plugins").join(name).join(&manifest),
            &paths::built_plugins().join(&manifest),
        )?;
    }
    Ok(())
}

/// Copies the built plugins into the watched folder. A manifest there may be the user's: it is kept.
pub fn offer() -> Outcome<()> {
    for name in GUESTS {
        let wasm = format!("{name}.wasm");
        copy(&paths::built_plugins().join(&wasm), &paths::watched_plugins().join(&wasm))?;
        let manifest = format!("{name}.toml");
        let (new, kept) = (paths::built_plugins().join(&manifest), paths::watched_plugins().join(&manifest));
        if !kept.exists() {
            copy(&new, &kept)?;
        } else if fs::read(&new).ok() != fs::read(&kept).ok() {
            println!("kept plugins.d/{manifest}, which differs from plugins/{name}/{manifest}");
        }
    }
    println!("plugins.d/ holds {}", GUESTS.join(", "));
    Ok(())
}

/// Puts a file in place in one step, so that a process that watches the folder never sees half of it. A file
/// with the same content is left alone: touching it would reload the plugin.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let content = fs::read(from).map_err(|e| format!("cannot read {}: {e}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(to);
    let hidden = folder.join(format!(".{}.new", to.file_name().unwrap_or_default().to_string_lossy()));
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&hidden, content))
        .and_then(|()| fs::rename(&hidden, to));
    written.map_err(|e| format!("cannot write {}: {e}", to.display()))
}
