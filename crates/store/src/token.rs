//! Who may use the API: what is kept of each token.

use std::fmt;
use std::str::FromStr;

use sawpit_model::Timestamp;

use crate::error::StoreError;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Posting logs.
    Ingest,
    /// Asking for logs and statistics.
    Read,
    /// Both, and what operators look at: plugins, metrics.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Read, Self::Admin];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// Whether who has this role may do what needs `needed`.
    #[must_use]
    pub fn covers(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be ingest, read or admin")]
pub struct ParseRoleError;

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(ParseRoleError)
    }
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Names it; a part of its text, and no secret.
    pub id: String,
    /// Digest of its secret.
    pub digest: [u8; 32],
    /// What it may be used for.
    pub role: Role,
    /// Whose it is, for people.
    pub note: String,
    /// Pattern of the devices that it may post for; none for all.
    pub devices: Option<String>,
    /// Logs that may be posted, or requests that may be made, a second; none for any number.
    pub rate: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; none for never.
    pub expires_at: Option<Timestamp>,
}

/// What came of revoking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is valid no more.
    Now,
    /// There is none of this id.
    Unknown,
}

impl Revoked {
    pub(crate) const fn of(rows: u64) -> Self {
        if rows == 0 { Self::Unknown } else { Self::Now }
    }
}

/// A token as it lies in the database, the times in its type.
pub(crate) type TokenLine<T> = (String, Vec<u8>, String, String, Option<String>, Option<i32>, T, Option<T>);

impl Token {
    pub(crate) fn from_line<T: Into<Timestamp>>(line: TokenLine<T>) -> Result<Self, StoreError> {
        let (id, digest, role, note, devices, rate, created_at, expires_at) = line;
        Ok(Self {
            digest: digest
                .try_into()
                .map_err(|_| StoreError::unreadable(format_args!("digest of token {id}")))?,
            role: role.parse().map_err(|_| StoreError::unreadable(format_args!("role {role:?}")))?,
            note,
            devices,
            rate: rate.and_then(|rate| u32::try_from(rate).ok()),
            created_at: created_at.into(),
            expires_at: expires_at.map(Into::into),
            id,
        })
    }

    pub(crate) fn rate_i32(&self) -> Option<i32> {
        self.rate.map(|rate| i32::try_from(rate).unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_do_all_and_the_others_their_own() {
        for role in Role::ALL {
            assert!(Role::Admin.covers(role) && role.covers(role));
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!(!Role::Ingest.covers(Role::Read) && !Role::Read.covers(Role::Ingest));
        assert!(!Role::Read.covers(Role::Admin) && !Role::Ingest.covers(Role::Admin));
        assert_eq!("Admin".parse::<Role>(), Err(ParseRoleError));
    }
}
