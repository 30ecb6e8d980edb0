//! A compiler for wasm32-unknown-unknown: rustup's, else Debian's.
//!
//! Rustup is tried first and given a limited time, because it hangs where its server cannot be reached.
//! Debian's `rustc-web` has no standard library for the target but brings its source, so it is built along
//! with the plugins (`-Zbuild-std`), which works offline.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cmd::{self, Outcome};
use crate::{packages, paths};

/// What the plugins are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Long enough to download the target (about 20 MB), short enough to wait for in vain.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std";

/// Variables that cargo and rustup hand down to us, which would lead another toolchain's cargo astray.
const HANDED_DOWN: [&str; 8] = [
    "CARGO",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
];

/// How plugins can be compiled on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The active toolchain has the target.
    Active,
    /// Debian's rustc-web, which builds the standard library too.
    Debian,
}

impl Toolchain {
    /// Finds a toolchain, installing what it lacks.
    pub fn find() -> Outcome<Self> {
        if active_has_target() {
            return Ok(Self::Active);
        }
        println!("the active Rust toolchain lacks the target {TARGET}");
        let Err(rustup) = rustup_adds_target() else { return Ok(Self::Active) };
        println!("{rustup}: falling back on Debian's compiler");
        Self::debian().map_err(|debian| {
            format!("no compiler for {TARGET}: {rustup}; {debian}. Run `rustup target add {TARGET}` online")
        })
    }

    /// Debian's compiler, installed when it is missing.
    pub fn debian() -> Outcome<Self> {
        if !debian_is_ready() {
            packages::install(&["rustc-web", "cargo-web", "rust-web-src"], "the plugins need a compiler")?;
        }
        if debian_is_ready() { Ok(Self::Debian) } else { Err(format!("{DEBIAN_SOURCE} is missing")) }
    }

    /// A `cargo build` for the target, to which the caller adds what to build.
    pub fn cargo_build(self) -> Outcome<Command> {
        match self {
            Self::Active => Ok(build(cmd::cargo())),
            Self::Debian => debian_build(),
        }
    }

    /// Where the results are: each compiler has its own folder.
    pub fn target_dir(self) -> PathBuf {
        paths::guests_target().join(match self {
            Self::Active => "active",
            Self::Debian => "debian",
        })
    }
}

fn build(mut cargo: Command) -> Command {
    cargo.args(["build", "--target", TARGET]);
    cargo
}

fn debian_build() -> Outcome<Command> {
    let mut command = Command::new(DEBIAN_CARGO);
    for name in HANDED_DOWN {
        command.env_remove(name);
    }
    command.env("RUSTC", DEBIAN_RUSTC);
    // Allows -Zbuild-std on a stable compiler; the guests themselves use stable Rust only.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", wasm_linker()?);
    let mut command = build(command);
    command.arg("-Zbuild-std=std,panic_abort");
    Ok(command)
}

fn active_has_target() -> bool {
    let sysroot = cmd::output(Command::new("rustc").args(["--print", "sysroot"]));
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn debian_is_ready() -> bool {
    [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_SOURCE].iter().all(|path| Path::new(path).exists())
}

/// Asks rustup for the target. Once it failed and Debian's compiler is there, it is not asked again.
fn rustup_adds_target() -> Outcome<()> {
    let failed_before = paths::guests_target().join("rustup-failed");
    if failed_before.exists() && debian_is_ready() {
        return Err(format!("rustup failed before (remove {} to ask again)", failed_before.display()));
    }
    if !cmd::exists("rustup") {
        return Err("there is no rustup".into());
    }
    println!("installing the target {TARGET} with rustup");
    let added = cmd::run_within(Command::new("rustup").args(["target", "add", TARGET]), RUSTUP_LIMIT);
    let added =
        added.and_then(|()| if active_has_target() { Ok(()) } else { Err("rustup added nothing".into()) });
    if added.is_err() {
        // Only a note to save time: without it rustup is asked again.
        let _ = fs::create_dir_all(paths::guests_target()).and_then(|()| fs::write(&failed_before, ""));
    }
    added
}

/// `rust-lld` of any toolchain here, else LLVM's linker of the same make.
fn wasm_linker() -> Outcome<PathBuf> {
    if let Some(linker) = rust_lld(DEBIAN_RUSTC).or_else(|| rust_lld("rustc")) {
        return Ok(linker);
    }
    if !cmd::exists("wasm-ld") {
        packages::install(&["lld"], "the plugins need a linker")?;
    }
    Ok("wasm-ld".into())
}

fn rust_lld(rustc: &str) -> Option<PathBuf> {
    let folder = cmd::output(Command::new(rustc).args(["--print", "target-libdir"]))?;
    let linker = Path::new(&folder).parent()?.join("bin/rust-lld");
    linker.is_file().then_some(linker)
}
