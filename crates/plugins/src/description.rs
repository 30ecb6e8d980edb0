//! What a plugin says of itself, checked.

use crate::bindings::types;
use crate::{Description, LoadError, convert};

/// Longest name and version, in bytes; from `types.wit`.
const NAME_BYTES: usize = 64;

/// Holds it against the rules of `types.wit`; what it reads is answered as it was said, too.
pub(crate) fn check(said: types::Description) -> Result<(Description, types::Fields), LoadError> {
    let wrong = |field, mut found: String, rule| {
        convert::cut(&mut found, NAME_BYTES);
        Err(LoadError::Description { field, found, rule })
    };
    let types::Description { name, version, mut help, reads } = said;
    if !is_name(&name) {
        return wrong("name", name, "must be 1 to 64 lower-case letters, digits and hyphens");
    }
    if !is_version(&version) {
        return wrong("version", version, "must be a semantic version such as 1.2.3, at most 64 bytes");
    }
    help.retain(|c| !c.is_control());
    convert::cut(&mut help, 200);
    Ok((Description { name, version, help, reads: convert::field_names(reads) }, reads))
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The grammar of semver.org, version 2.0.0.
fn is_version(version: &str) -> bool {
    let (version_and_pre, build) =
        version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) =
        version_and_pre.split_once('-').map_or((version_and_pre, None), |(core, pre)| (core, Some(pre)));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = |text: &str| is_digits(text) && (text == "0" || !text.starts_with('0'));
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    version.len() <= NAME_BYTES
        && core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|pre| {
            pre.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for good in ["0.1.0", "1.2.3", "10.20.30-rc.1+build.5", "1.0.0-alpha-1", "1.0.0+001"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3"] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_plain() {
        for (name, good) in
            [("geo-ip2", true), ("", false), ("Geo", false), ("a b", false), (&"x".repeat(65), false)]
        {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }
}
