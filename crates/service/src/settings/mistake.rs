//! What is wrong with the settings, all of it, in words an operator can act on.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A key of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The key as it is written there; empty for the file as a whole.
        key: String,
    },
    /// The table's default.
    Default,
    /// Nothing gave it.
    Missing,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, key } if key.is_empty() => write!(f, "{}", path.display()),
            Self::File { path, key } => write!(f, "{}:{key}", path.display()),
            Self::Default => f.write_str("default"),
            Self::Missing => f.write_str("not set"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The setting's name.
    pub setting: String,
    /// Where its value came from.
    pub source: Source,
    /// The value as given, masked when secret.
    pub value: Option<String>,
    /// What it must be instead.
    pub rule: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " ({}): {}", self.source, self.rule)
    }
}

/// All that is wrong: print it, exit with code 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsErrors(pub Vec<Mistake>);

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} wrong setting{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for SettingsErrors {}

/// The value as it may be shown: nothing of a secret, and no password of a URL.
pub(super) fn masked(value: &str, secret: bool) -> String {
    if secret { "***".to_owned() } else { without_password(value) }
}

/// `scheme://user:password@host` with the password replaced; any other text as it is. The last `@` before
/// the path ends the password, since an operator may have left one in it unescaped.
fn without_password(value: &str) -> String {
    let hidden = || {
        let (scheme, rest) = value.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (login, _) = authority.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        let after = rest.get(login.len()..)?;
        Some(format!("{scheme}://{user}:***{after}"))
    };
    hidden().unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked_and_other_texts_kept() {
        for (given, shown) in [
            ("postgres://me:pw@db:5432/logs", "postgres://me:***@db:5432/logs"),
            ("redis://:p@ss@cache/0", "redis://:***@cache/0"),
            ("postgres://me@db/logs?x=a:b@c", "postgres://me@db/logs?x=a:b@c"),
            ("redis://cache:6379", "redis://cache:6379"),
            ("./data", "./data"),
        ] {
            assert_eq!(masked(given, false), shown);
        }
        assert_eq!(masked("redis://cache", true), "***");
    }
}
