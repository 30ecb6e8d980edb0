//! Passwords, tokens and keys: by the name that they follow, or by their own shape.

use std::ops::Range;

use super::{is_word, is_word_at};

/// Ends of names whose values are secrets, in lower case without separators: `db_password`, `X-Api-Key` and
/// `accessToken` are such names, `token_count` and `max_tokens` are not.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "secretaccesskey",
    "privatekey",
    "authorization",
    "credential",
    "credentials",
    "cookie",
    "sessionid",
];

/// Names that end as above but do not tell a secret.
const HARMLESS_NAMES: &[&str] =
    &["pwd", "nexttoken", "pagetoken", "nextpagetoken", "continuationtoken", "tokenizer"];

/// Longest name that is looked at, in bytes.
const NAME_BYTES: usize = 64;

/// The names whose values are secrets.
#[derive(Clone, Debug)]
pub(crate) struct SecretKeys {
    more: Vec<String>,
}

impl SecretKeys {
    pub(crate) fn new(more: &[String]) -> Result<Self, String> {
        let more: Vec<String> = more.iter().map(|name| plain(name.as_bytes())).collect();
        if more.iter().any(String::is_empty) {
            return Err("secret_keys has a name without letters or digits, remove it".to_owned());
        }
        Ok(Self { more })
    }

    /// Whether the value of a member of this name is a secret.
    pub(crate) fn contains(&self, name: &str) -> bool {
        name.len() <= NAME_BYTES && self.contains_plain(&plain(name.as_bytes()))
    }

    fn contains_plain(&self, name: &str) -> bool {
        let known =
            SECRET_NAMES.iter().any(|secret| name.ends_with(secret)) && !HARMLESS_NAMES.contains(&name);
        known || self.more.iter().any(|more| more == name)
    }

    /// The secret behind a `=` or `:` at `at`, if a secret's name is before it.
    pub(super) fn value_after(&self, text: &str, at: usize) -> Option<Range<usize>> {
        let bytes = text.as_bytes();
        let name = plain(name_before(bytes, at)?);
        if !self.contains_plain(&name) {
            return None;
        }
        let spaces = bytes.get(at + 1..)?.iter().take_while(|&&byte| byte == b' ').count();
        let start = at + 1 + spaces;
        // The second mark of `::`, `:=`, `==` and `://` is no value, nor is what stands here after redaction.
        if matches!(bytes.get(start)?, b'=' | b':' | b'/') || bytes.get(start..)?.starts_with(b"[secret]") {
            return None;
        }
        let value = value_at(bytes, start, Extent::of(&name))?;
        let written_out = bytes.get(at) == Some(&b':') && spaces > 0 && name.ends_with("token");
        // In prose, "unexpected token: word" is no secret; one has digits and some length.
        (!written_out || looks_random(bytes.get(value.clone())?)).then_some(value)
    }
}

/// Lower case, letters and digits only.
fn plain(name: &[u8]) -> String {
    let kept = name.iter().filter(|byte| is_word(**byte) && **byte != b'_').copied();
    String::from_utf8_lossy(&kept.collect::<Vec<u8>>()).to_lowercase()
}

/// The name that ends before `at`, without the quotes that may stand around it.
fn name_before(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let before = bytes.get(..at)?;
    let before = before.strip_suffix(b" ").unwrap_or(before);
    let before = before.strip_suffix(b"\"").or_else(|| before.strip_suffix(b"'")).unwrap_or(before);
    let before = before.strip_suffix(b"\\").unwrap_or(before);
    let part = |byte: &&u8| is_word(**byte) || matches!(**byte, b'-' | b'.');
    let length = before.iter().rev().take(NAME_BYTES).take_while(part).count();
    before.get(before.len() - length..).filter(|name| !name.is_empty())
}

/// How far a value without quotes reaches.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    /// To white space or punctuation.
    Word,
    /// A word more when there is one: `Authorization: Basic dXNlcg==` is a scheme and a secret.
    TwoWords,
    /// To the end of the line or a quote: `Cookie: a=b; c=d`.
    Line,
}

impl Extent {
    fn of(name: &str) -> Self {
        match name {
            _ if name.ends_with("authorization") => Self::TwoWords,
            _ if name.ends_with("cookie") => Self::Line,
            _ => Self::Word,
        }
    }
}

/// The value that starts at `start`: what is in quotes, or as far as `extent` says.
fn value_at(bytes: &[u8], start: usize, extent: Extent) -> Option<Range<usize>> {
    let rest = bytes.get(start..)?;
    let escaped = rest.starts_with(b"\\\"");
    let quote = *rest.get(usize::from(escaped))?;
    if matches!(quote, b'"' | b'\'') {
        let open = start + usize::from(escaped) + 1;
        let inner = bytes.get(open..)?;
        let length = quoted_length(inner, quote, escaped);
        return (length > 0).then_some(open..open + length);
    }
    let until = |from: usize, ends: fn(u8) -> bool| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| !ends(**byte)).count()
    };
    let mut end = until(start, if extent == Extent::Line { ends_line } else { ends_value });
    if extent == Extent::TwoWords && bytes.get(end) == Some(&b' ') {
        end = until(end + 1, ends_value);
    }
    (end > start).then_some(start..end)
}

/// How long a quoted value is; to the end of the text when the quote is not closed.
fn quoted_length(inner: &[u8], quote: u8, escaped: bool) -> usize {
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        match byte {
            b'\\' if escaped && inner.get(at + 1) == Some(&quote) => return at,
            b'\\' => at += 2,
            _ if byte == quote => return at,
            _ => at += 1,
        }
    }
    inner.len()
}

fn ends_value(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b',' | b';' | b'&' | b'"' | b'\'' | b')' | b']' | b'}' | b'>')
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b'"' | b'\'')
}

fn looks_random(value: &[u8]) -> bool {
    value.len() >= 8 && value.iter().any(u8::is_ascii_digit)
}

/// The password of a URL such as `amqp://user:password@host`, whose `@` is at `at`.
pub(super) fn url_password(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let before = bytes.get(..at)?;
    let part = |byte: &&u8| !byte.is_ascii_whitespace() && !matches!(**byte, b'/' | b'"' | b'@');
    let length = before.iter().rev().take(256).take_while(part).count();
    let user = at - length;
    before.get(..user)?.strip_suffix(b"://")?;
    let colon = before.get(user..)?.iter().position(|&byte| byte == b':')?;
    let start = user + colon + 1;
    (start < at).then_some(start..at)
}

/// A secret that is known by its shape, from the start of a word at `at`: `Bearer …`, an AWS access key id,
/// a JSON Web Token.
pub(super) fn known_shape(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let rest = bytes.get(at..)?;
    match rest.first()? {
        b'A' => aws_key(rest).map(|length| at..at + length),
        // Inside a longer run of base64url, so that a text full of beginnings takes no quadratic time.
        b'e' if at.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'-') => None,
        b'e' => web_token(rest).map(|length| at..at + length),
        _ => {
            let scheme = rest.get(..7).filter(|word| word.eq_ignore_ascii_case(b"bearer "))?.len();
            let length = rest.get(scheme..)?.iter().take_while(|byte| is_token(**byte)).count();
            // "bearer bonds" is no token.
            let token = rest.get(scheme..scheme + length)?;
            looks_random(token).then_some(at + scheme..at + scheme + length)
        }
    }
}

/// `AKIA` or `ASIA` and 16 capitals or digits, as AWS writes access key ids.
fn aws_key(rest: &[u8]) -> Option<usize> {
    let named = rest.starts_with(b"AKIA") || rest.starts_with(b"ASIA");
    let id = rest.get(4..20)?;
    let right = id.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (named && right && !is_word_at(rest, 20)).then_some(20)
}

/// Three parts in base64url joined by dots, the first a JSON object (`eyJ` is `{"` encoded).
fn web_token(rest: &[u8]) -> Option<usize> {
    rest.strip_prefix(b"eyJ")?;
    let base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'_');
    let header = rest.iter().take_while(base64).count();
    let payload = rest.get(header..)?.strip_prefix(b".")?.iter().take_while(base64).count();
    let signature = rest.get(header + 1 + payload..)?.strip_prefix(b".")?.iter().take_while(base64).count();
    (header >= 10 && payload >= 4).then_some(header + 1 + payload + 1 + signature)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}
