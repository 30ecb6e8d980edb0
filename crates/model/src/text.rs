//! The strings of JSON: what their escapes mean, and which of them no database can hold.

use std::borrow::Cow;

use memchr::memchr;

/// Why a valid JSON string is no text that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFault {
    /// `\u0000`, which PostgreSQL holds neither in text nor in jsonb.
    Nul,
    /// Half of a surrogate pair, which has no UTF-8.
    LoneSurrogate,
}

impl TextFault {
    /// The rule that was broken, for the sender.
    pub(crate) const fn rule(self) -> &'static str {
        match self {
            Self::Nul => "must not contain NUL (\\u0000)",
            Self::LoneSurrogate => "must not contain half of a surrogate pair (\\ud800 to \\udfff alone)",
        }
    }
}

/// What the escape at the start of `rest` stands for, and how many bytes it takes.
pub(crate) fn escape(rest: &[u8]) -> Result<(char, usize), TextFault> {
    let plain = |c| Ok((c, 2));
    match rest.get(1) {
        Some(b'u') => unicode(rest),
        Some(b'b') => plain('\u{8}'),
        Some(b'f') => plain('\u{c}'),
        Some(b'n') => plain('\n'),
        Some(b'r') => plain('\r'),
        Some(b't') => plain('\t'),
        Some(&byte) => plain(char::from(byte)),
        None => Err(TextFault::LoneSurrogate),
    }
}

fn unicode(rest: &[u8]) -> Result<(char, usize), TextFault> {
    let high = hex(rest, 2).ok_or(TextFault::LoneSurrogate)?;
    match char::from_u32(high) {
        Some('\0') => Err(TextFault::Nul),
        Some(c) => Ok((c, 6)),
        None => pair(high, rest).map(|c| (c, 12)).ok_or(TextFault::LoneSurrogate),
    }
}

/// The character of two `\u` escapes in a row.
fn pair(high: u32, rest: &[u8]) -> Option<char> {
    let low = hex(rest, 8).filter(|_| rest.get(6..8) == Some(b"\\u"))?;
    let halves = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
    halves.then(|| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))).flatten()
}

/// The four hexadecimal digits at `from`.
fn hex(rest: &[u8], from: usize) -> Option<u32> {
    let digits = rest.get(from..from + 4)?;
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

/// The text that a JSON string (with its quotes) stands for; borrowed where nothing is escaped.
pub(crate) fn unescape(string: &str) -> Result<Cow<'_, str>, TextFault> {
    let inner = string.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or(string);
    let mut text = String::new();
    let mut rest = inner;
    while let Some((before, from)) = memchr(b'\\', rest.as_bytes()).and_then(|at| rest.split_at_checked(at)) {
        let (character, bytes) = escape(from.as_bytes())?;
        text.reserve(rest.len());
        text.push_str(before);
        text.push(character);
        rest = from.get(bytes..).unwrap_or_default();
    }
    if rest.len() == inner.len() {
        return Ok(Cow::Borrowed(inner));
    }
    text.push_str(rest);
    Ok(Cow::Owned(text))
}
