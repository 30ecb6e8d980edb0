//! The text of a token: `sawpit_ID_SECRET`. The prefix lets scanners of leaked secrets find it.

use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "sawpit_";

/// 60 bits, so that ids do not meet.
const ID_CHARS: usize = 12;

/// 215 bits, which nobody guesses: a plain digest protects them, as no dictionary has them.
const SECRET_CHARS: usize = 43;

/// 32 letters and digits, none of which looks like another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// What a digest of a secret is for, so that it is none of another purpose.
const CONTEXT: &str = "sawpit 2026-11-23 token secret";

/// A token as its owner has it. Shows its secret only by [`Secret::text`].
pub struct Secret {
    id: String,
    secret: String,
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: a token looks like sawpit_ID_SECRET")]
pub struct ParseSecretError;

impl Secret {
    /// A new one, of bytes that must be random.
    #[must_use]
    pub fn from_random(bytes: &[u8; ID_CHARS + SECRET_CHARS]) -> Self {
        let char = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).map_or('a', |byte| char::from(*byte));
        let mut chars = bytes.iter().map(char);
        let id = chars.by_ref().take(ID_CHARS).collect();
        Self { id, secret: chars.collect() }
    }

    /// Names it; no secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id in the text of a token, whole or not; else the text. So that who is asked for an id and gives more need not
    /// see a secret again.
    #[must_use]
    pub fn id_in(text: &str) -> &str {
        let id = text.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next());
        id.unwrap_or(text)
    }

    /// What is kept of the secret.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        blake3::derive_key(CONTEXT, self.secret.as_bytes())
    }

    /// The whole of it, to be shown once.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }

    /// Whether the digest is this one's, compared in constant time.
    pub(super) fn is_of(&self, digest: &[u8; 32]) -> bool {
        blake3::Hash::from_bytes(self.digest()) == blake3::Hash::from_bytes(*digest)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, …)", self.id)
    }
}

impl FromStr for Secret {
    type Err = ParseSecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, secret) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(ParseSecretError)?;
        let ours = |part: &str, chars| part.len() == chars && part.bytes().all(|b| ALPHABET.contains(&b));
        if !ours(id, ID_CHARS) || !ours(secret, SECRET_CHARS) {
            return Err(ParseSecretError);
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(first: u8) -> Secret {
        let mut bytes = [7; 55];
        bytes[0] = first;
        bytes[54] = first;
        Secret::from_random(&bytes)
    }

    #[test]
    fn a_token_is_read_as_it_was_shown() {
        let token = secret(3);
        let read: Secret = token.text().parse().unwrap();
        assert_eq!((read.id(), read.digest()), (token.id(), token.digest()));
        assert!(read.is_of(&token.digest()) && !read.is_of(&secret(4).digest()));
        let shown = format!("{token:?}");
        assert!(
            shown.contains(token.id()) && !token.text().contains(&shown) && shown.chars().count() < 25,
            "{shown}"
        );
    }

    #[test]
    fn of_a_token_that_was_not_copied_whole_the_id_is_known_and_no_more() {
        let token = secret(3);
        let text = token.text();
        for given in [text.as_str(), &text[..text.len() - 1], &text[..30], token.id()] {
            assert_eq!(Secret::id_in(given), token.id());
        }
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let text = secret(3).text();
        for bad in ["", "sawpit_", "sawpit_a_b", &text[1..], &text[..text.len() - 1], &text.to_uppercase()] {
            assert!(bad.parse::<Secret>().is_err(), "{bad}");
        }
        assert!(format!("{text}a").parse::<Secret>().is_err());
    }
}
