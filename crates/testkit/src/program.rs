//! Where the servers' programs are, and what to type when one is missing.

use std::path::PathBuf;
use std::{env, fs};

/// Finds `name` on the PATH and in the places where Debian puts servers.
///
/// # Panics
/// When it is not installed, with the command that installs `package`.
pub(crate) fn find(name: &str, package: &str) -> PathBuf {
    search(name).unwrap_or_else(|| panic!("{}", missing(name, package)))
}

/// The folder of the newest PostgreSQL that is at least version 15 (what the store is written for).
///
/// # Panics
/// When there is none, with the command that installs it.
pub(crate) fn postgres_bin() -> PathBuf {
    let newest = installed_postgres().into_iter().max_by_key(|(version, _)| *version);
    if let Some((_, bin)) = newest.filter(|(version, _)| *version >= 15) {
        return bin;
    }
    let on_path =
        search("initdb").and_then(|initdb| Some(fs::canonicalize(initdb).ok()?.parent()?.to_owned()));
    on_path.unwrap_or_else(|| panic!("{}", missing("PostgreSQL 15 or newer", "postgresql")))
}

fn installed_postgres() -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let versions = entries.flatten().filter_map(|entry| {
        let version = entry.file_name().to_str()?.parse().ok()?;
        let bin = entry.path().join("bin");
        bin.join("initdb").exists().then_some((version, bin))
    });
    versions.collect()
}

fn search(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders =
        env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

fn missing(what: &str, package: &str) -> String {
    format!(
        "{what} is not installed: run `cargo xtask test`, which installs it, or `apt-get install {package}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_every_machine_has() {
        assert!(find("sh", "dash").is_file());
    }

    #[test]
    #[should_panic(expected = "run `cargo xtask test`, which installs it, or `apt-get install no-package`")]
    fn names_the_command_that_mends_a_missing_program() {
        find("no-such-program", "no-package");
    }
}
