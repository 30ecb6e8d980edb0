//! Debian packages: what is missing is named, then installed.

use std::process::Command;

use crate::cmd::{self, Outcome};

/// Installs with services kept from starting: the tests start their own on free ports. A policy that is
/// there already is left as it is. The package lists are fetched only when the install fails without.
const INSTALL: &str = r#"
policy=$1
shift
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"; }
install "$@" || { apt-get update -q && install "$@"; }
"#;

/// Whether packages may start their services is asked of this script; 101 forbids it (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs `packages`, for the reason given, with sudo when not root.
pub fn install(packages: &[&str], why: &str) -> Outcome<()> {
    let list = packages.join(" ");
    if !cmd::exists("apt-get") {
        return Err(format!("{why}: install what Debian calls `{list}` with this system's package manager"));
    }
    let root = cmd::output(Command::new("id").arg("-u")).as_deref() == Some("0");
    if !root && !cmd::exists("sudo") {
        return Err(format!("{why}: run `apt-get install {list}` as root (there is no sudo here)"));
    }
    println!("{why}: installing {list} with apt-get{}", if root { "" } else { " (sudo)" });
    let status = installer(root).args(packages).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("{why}: apt-get could not install it; run `apt-get install {list}` as root")),
    }
}

fn installer(root: bool) -> Command {
    let mut command = Command::new(if root { "sh" } else { "sudo" });
    if !root {
        command.arg("sh");
    }
    command.args(["-c", INSTALL, "install", POLICY]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// Runs the script with an `apt-get` that appends its first word and the policy's text to a file, and
    /// whose first install fails. Returns that file's text and whether the script succeeded.
    fn install_in(folder: &std::path::Path) -> (String, bool) {
        let apt = folder.join("apt-get");
        let text = "#!/bin/sh\necho $1 $(tail -n1 policy) >>calls; [ $1 = update ] || [ -e second ] || { touch second; exit 1; }\n";
        fs::write(&apt, text).unwrap();
        fs::set_permissions(&apt, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut script = Command::new("sh");
        script.args(["-c", INSTALL, "install", "policy", "nginx"]).env("PATH", path).current_dir(folder);
        let succeeded = script.status().unwrap().success();
        (fs::read_to_string(folder.join("calls")).unwrap(), succeeded)
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-packages-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn fetches_the_lists_when_needed_and_forbids_services_meanwhile() {
        let folder = scratch("new");
        let (calls, succeeded) = install_in(&folder);
        assert!(succeeded);
        assert_eq!(calls, "install exit 101\nupdate exit 101\ninstall exit 101\n");
        assert!(!folder.join("policy").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn leaves_a_policy_that_is_there() {
        let folder = scratch("kept");
        fs::write(folder.join("policy"), "theirs\n").unwrap();
        let (calls, _) = install_in(&folder);
        assert!(calls.starts_with("install theirs\n"), "{calls}");
        assert_eq!(fs::read_to_string(folder.join("policy")).unwrap(), "theirs\n");
        fs::remove_dir_all(folder).unwrap();
    }
}
