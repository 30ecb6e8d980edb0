//! What the tests of plugins in other languages than Rust build with: clang, zig, componentize-qjs, componentize-py;
//! and schemathesis, with which they try the API.
//!
//! The versions are those that `sawpit plugin new` writes into its projects. All but the compilers goes into
//! target/author-tools/, where the tests look for it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::cmd::{self, Outcome};
use crate::{packages, paths};

const WHY: &str = "the tests build plugins in JavaScript, Python and C";
/// Where the templates are, in the checkout.
const TEMPLATES: &str = "cli/src/plugin/template";
/// The npm package, and the PyPI package.
const JS: &str = "componentize-qjs";
const PYTHON: &str = "componentize-py";
/// The compiler for C where there is no clang, of PyPI; what it installs is called otherwise.
const ZIG: &str = "ziglang";
const ZIG_VERSION: &str = "0.17.1";
const ZIG_PROGRAM: &str = "python-zig";
/// What tries the API by its description, of PyPI.
const API: &str = "schemathesis";
const API_VERSION: &str = "4.32.5";

/// Installs what is missing.
pub fn install() -> Outcome<()> {
    let needed =
        [("clang", "clang"), ("wasm-ld", "lld"), ("node", "nodejs"), ("npm", "npm"), ("python3", "python3")];
    let missing: Vec<_> =
        needed.iter().filter(|(program, _)| !cmd::exists(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        packages::install(&missing, WHY)?;
    }
    timed(JS, || install_js(&pinned("js/package.json", "\"componentize-qjs\": \"")?))?;
    timed(PYTHON, || {
        let version = pinned("python/requirements.txt", "componentize-py==")?;
        install_python("python", PYTHON, &version, &[PYTHON, "--version"], WHY)
    })?;
    timed(ZIG, || install_python(ZIG, ZIG, ZIG_VERSION, &[ZIG_PROGRAM, "version"], WHY))?;
    let why = "the tests try the API by its description";
    timed(API, || install_python(API, API, API_VERSION, &[API, "--version"], why))
}

/// The version that stands after `before` in a file of the templates.
fn pinned(file: &str, before: &str) -> Outcome<String> {
    let path = paths::root().join(TEMPLATES).join(file);
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    version_after(&text, before).ok_or_else(|| format!("{} has no {before}…", path.display()))
}

fn version_after(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    let version: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    (!version.is_empty()).then_some(version)
}

/// Says how long an installation took, where there was one.
fn timed(what: &str, install: impl FnOnce() -> Outcome<bool>) -> Outcome<()> {
    let started = Instant::now();
    if install()? {
        println!("{what} installed in {} s", started.elapsed().as_secs());
    }
    Ok(())
}

fn install_js(version: &str) -> Outcome<bool> {
    let tools = paths::author_tools();
    let installed = fs::read_to_string(tools.join("node_modules").join(JS).join("package.json"));
    if installed.is_ok_and(|package| package.contains(&format!("\"version\": \"{version}\""))) {
        return Ok(false);
    }
    println!("{WHY}: installing {JS} {version} into {}", tools.display());
    fs::create_dir_all(&tools).map_err(|e| format!("cannot make {}: {e}", tools.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&tools);
    cmd::run(npm.arg(format!("{JS}@{version}")))?;
    Ok(true)
}

/// A program of PyPI, with its own environment of this name; whether it was missing. `ask` is the command that says
/// which version is there.
fn install_python(folder: &str, package: &str, version: &str, ask: &[&str], why: &str) -> Outcome<bool> {
    let environment = paths::author_tools().join(folder);
    let said = ask.split_first().and_then(|(tool, arguments)| {
        cmd::output(Command::new(environment.join("bin").join(tool)).args(arguments))
    });
    if said.is_some_and(|said| said.split_whitespace().last() == Some(version)) {
        return Ok(false);
    }
    println!("{why}: installing {package} {version} into {}", environment.display());
    make_environment(&environment)?;
    let pip = environment.join("bin/pip");
    cmd::run(Command::new(pip).args(["install", "--quiet", &format!("{package}=={version}")]))?;
    Ok(true)
}

/// Debian leaves the installer of packages out of Python.
fn make_environment(environment: &Path) -> Outcome<()> {
    let make = || cmd::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment));
    if make().is_ok() {
        return Ok(());
    }
    packages::install(&["python3-venv"], WHY)?;
    make()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_templates() {
        assert_eq!(version_after("{\n \"a\": \"0.4.5\"\n}", "\"a\": \"").as_deref(), Some("0.4.5"));
        assert_eq!(version_after("a==1.2\n", "b=="), None);
        assert!(pinned("js/package.json", "\"componentize-qjs\": \"").is_ok());
        assert!(pinned("python/requirements.txt", "componentize-py==").is_ok());
    }
}
