//! E-mail addresses: `local@domain.tld`, as people write them, not all that RFC 5321 allows.

use std::ops::Range;

/// The longest local part and domain, in bytes (RFC 5321, 4.5.3.1). They also bound the search, so a text of
/// nothing but `@` and letters takes no quadratic time.
const LOCAL_BYTES: usize = 64;
const DOMAIN_BYTES: usize = 255;

/// The address around the `@` at `at`.
pub(super) fn around(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let before = bytes.get(..at)?;
    let local = before.iter().rev().take(LOCAL_BYTES + 1).take_while(|&&byte| is_local(byte)).count();
    let after = bytes.get(at + 1..)?;
    let reach = after.iter().take(DOMAIN_BYTES).take_while(|&&byte| is_domain(byte)).count();
    let domain = after.get(..reach)?;
    let domain = domain_of(domain)?;
    // Dots that begin the local part belong to the sentence: "...me@x.org".
    let start = at - local;
    let dots = bytes.get(start..at)?.iter().take_while(|&&byte| byte == b'.').count();
    (local > dots && local <= LOCAL_BYTES).then_some(start + dots..at + 1 + domain)
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._%+-'".contains(&byte) || byte >= 0x80
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') || byte >= 0x80
}

/// How much of the text is a domain: at least two labels, the last one of letters.
fn domain_of(text: &[u8]) -> Option<usize> {
    let end = text.len() - text.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-')).count();
    let domain = text.get(..end)?;
    let mut labels = domain.split(|&byte| byte == b'.');
    let top = labels.next_back()?;
    let letters =
        top.iter().all(|&byte| byte.is_ascii_alphabetic() || byte >= 0x80) || top.starts_with(b"xn--");
    let mut below = labels.peekable();
    (top.len() >= 2 && letters && below.peek().is_some() && below.all(|label| !label.is_empty()))
        .then_some(end)
}
