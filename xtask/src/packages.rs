//! Debian packages: what is missing is named, then installed.

use std::process::Command;

use crate::cmd::{self, Outcome};

/// Installs with services kept from starting: the tests start their own on free ports. A policy that is
/// there already is left as it is (`/usr/sbin/policy-rc.d`, see invoke-rc.d(8); 101 forbids the start).
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"; }
install "$@" || { apt-get update -q && install "$@"; }
"#;

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
    command.args(["-c", INSTALL, "install"]);
    command
}
