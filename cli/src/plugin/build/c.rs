//! C: clang with LLVM's linker, or zig, and the bindings that wit-bindgen makes of the project's world.
//!
//! The result is a core module with the world's type in it, which the host turns into a component when it loads it, as
//! it does with Rust's. The bindings are made anew by each build, so they follow the project's WIT.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use wit_bindgen_core::Files;

use super::run::Runner;
use super::{project, tools};

/// What the compiler is told before the files: no library, no start function, but the functions' names for traces.
const FLAGS: [&str; 14] = [
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-ffreestanding",
    "-nostdlib",
    "-mbulk-memory",
    "-isystem",
    "runtime/include",
    "-Iruntime",
    "-Ibindings",
    "-Wl,--no-entry",
    "-Wl,--strip-debug",
    "-o",
];

pub fn build(folder: &Path, runner: Runner) -> Result<PathBuf> {
    let name = project::name(folder)?;
    let mut compiler = compiler(folder)?;
    let bindings = write_bindings(folder)?;
    let made = project::unfinished(folder, &name);
    compiler.args(FLAGS).arg(made.file_name().unwrap_or_default());
    for path in project::sources(folder, "c").iter().chain(&project::sources(&folder.join("runtime"), "c")) {
        compiler.arg(path.strip_prefix(folder).unwrap_or(path));
    }
    runner.run(compiler.args(bindings).current_dir(folder), "the C compiler")?;
    project::take(folder, &name, &made)
}

/// Writes bindings/, and names what of it is to be compiled and linked.
pub fn write_bindings(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut resolve, world) = project::world(folder)?;
    let mut files = Files::default();
    let options = wit_bindgen_c::Opts { rename_world: Some("plugin".to_owned()), ..Default::default() };
    options.build().generate(&mut resolve, world, &mut files).context("wit-bindgen")?;
    fs::create_dir_all(folder.join("bindings")).context("bindings")?;
    let mut inputs = Vec::new();
    for (name, content) in files.iter() {
        let path = Path::new("bindings").join(name);
        fs::write(folder.join(&path), content).with_context(|| format!("cannot write {}", path.display()))?;
        if path.extension().is_some_and(|kind| kind == "c" || kind == "o") {
            inputs.push(path);
        }
    }
    Ok(inputs)
}

/// The first compiler that makes WebAssembly.
fn compiler(folder: &Path) -> Result<Command> {
    if let Some(clang) = tools::on_path("clang").filter(|clang| is_complete(clang)) {
        let mut clang = Command::new(clang);
        clang.arg("--target=wasm32");
        return Ok(clang);
    }
    // The second is how PyPI's package calls it.
    let zig = tools::on_path("zig").or_else(|| tools::find(folder, ".venv/bin", "python-zig"));
    let mut zig = Command::new(zig.with_context(|| {
        "no C compiler here makes WebAssembly, for which clang needs lld: on Debian run `apt-get install clang lld`; else \
         install zig from https://ziglang.org, or with `python3 -m venv .venv && .venv/bin/pip install ziglang`"
    })?);
    zig.args(["cc", "--target=wasm32-freestanding"]);
    Ok(zig)
}

/// Whether a clang has the target and its linker; Apple's and some others have neither. It links nothing to nowhere, for
/// what it says of its linker is not what it runs: Debian's wants one of its own version.
fn is_complete(clang: &Path) -> bool {
    let mut link = Command::new(clang);
    link.args(["--target=wasm32", "-nostdlib", "-Wl,--no-entry", "-x", "c", "/dev/null", "-o", "/dev/null"]);
    tools::output(&mut link).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_clang_is_passed_over() {
        assert!(!is_complete(Path::new("/bin/false")));
        assert!(!is_complete(Path::new("/no/such/clang")));
    }
}
