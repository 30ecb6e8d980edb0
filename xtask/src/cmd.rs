//! Other programs: said before they run, their failure turned into a sentence.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The result of a step; the error is the sentence that the user reads.
pub type Outcome<T> = Result<T, String>;

/// Cargo as the user started it, so that `cargo +nightly xtask` stays on nightly, but without what `cargo run` says of this
/// package: build scripts that look at it, as ring's does, would build anew what was built by plain `cargo`, and again.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_package(name)) {
        cargo.env_remove(name);
    }
    cargo
}

/// What cargo tells the programs that it runs:
/// <https://doc.rust-lang.org/cargo/reference/environment-variables.html#environment-variables-cargo-sets-for-crates>.
fn is_of_this_package(name: &OsStr) -> bool {
    let prefixes = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    name.to_str().is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
}

/// Prints the command line, runs it, and fails when it does.
pub fn run(command: &mut Command) -> Outcome<()> {
    println!("$ {}", line(command));
    let status = command.status().map_err(|e| format!("cannot start {}: {e}", line(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", line(command))) }
}

/// Runs it silently and returns its standard output, trimmed; `None` when it cannot be run or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Prints the command line and runs it for at most `limit`; then it is killed, which is a failure as well.
pub fn run_within(command: &mut Command, limit: Duration) -> Outcome<()> {
    println!("$ {}", line(command));
    let mut child = command.spawn().map_err(|e| format!("cannot start {}: {e}", line(command)))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{} failed ({status})", line(command))),
            None if Instant::now() < deadline => sleep(Duration::from_millis(50)),
            None => break,
        }
    }
    // It may end by itself in this moment; either way it is gone after `wait`.
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("{} took longer than {} s", line(command), limit.as_secs()))
}

/// Whether `program` is on the PATH or where Debian puts servers.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into));
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

/// The command line as one could type it, without the environment.
fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    std::iter::once(name).chain(command.get_args()).map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "'\"$;&|()<>".contains(c));
    if plain { word.into_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_one_could_type() {
        let mut command = Command::new("/usr/bin/sh");
        command.args(["-c", "echo 'a'"]);
        assert_eq!(line(&command), r"sh -c 'echo '\''a'\'''");
    }

    #[test]
    fn failure_and_delay_are_errors() {
        assert!(run(&mut Command::new("true")).is_ok());
        assert!(run(&mut Command::new("false")).unwrap_err().contains("false failed"));
        let mut slow = Command::new("sleep");
        let error = run_within(slow.arg("100"), Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("sleep 100 took longer"), "{error}");
    }

    #[test]
    fn cargo_is_told_what_the_user_told_and_nothing_of_this_package() {
        let is_removed = |name: &str| is_of_this_package(OsStr::new(name));
        assert!(
            ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"]
                .iter()
                .all(|name| is_removed(name))
        );
        let kept = ["CARGO_HOME", "CARGO_INCREMENTAL", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "PATH"];
        assert!(!kept.iter().any(|name| is_removed(name)));
        assert!(cargo().get_envs().any(|(name, value)| name == "CARGO_PKG_NAME" && value.is_none()));
    }

    #[test]
    fn finds_programs() {
        assert!(exists("sh"));
        assert!(!exists("no-such-program"));
    }
}
