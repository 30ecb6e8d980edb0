//! IP addresses. What four numbers mean cannot be seen: `1.2.3.4` is taken for an address, `v1.2.3.4` and
//! `1.2.3.4.5` are not.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::{is_word_at, is_word_before};

/// Longest text of an IPv6 address, in bytes: eight groups, the last two as IPv4.
const V6_BYTES: usize = 45;

/// The digits and dots from `at` on.
pub(super) fn dotted_run(bytes: &[u8], at: usize) -> Range<usize> {
    let rest = bytes.get(at..).unwrap_or_default();
    at..at + rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count()
}

/// The IPv4 address that a run of digits and dots is.
pub(super) fn v4(bytes: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    let text = bytes.get(run.clone())?;
    // A dot that ends a sentence.
    let text = text.strip_suffix(b".").unwrap_or(text);
    let end = run.start + text.len();
    let before = run.start.checked_sub(1).and_then(|before| bytes.get(before));
    if is_word_before(bytes, run.start) || before == Some(&b'.') || is_word_at(bytes, end) {
        return None;
    }
    let mut octets = text.split(|&byte| byte == b'.');
    let four = octets.by_ref().take(4).filter(|octet| is_octet(octet)).count() == 4;
    (four && octets.next().is_none()).then_some(run.start..end)
}

/// A number up to 255, of one to three digits; some systems pad with zeros.
fn is_octet(text: &[u8]) -> bool {
    (1..=3).contains(&text.len())
        && text
            .iter()
            .try_fold(0_u16, |value, digit| {
                digit.is_ascii_digit().then(|| value * 10 + u16::from(digit - b'0'))
            })
            .is_some_and(|value| value <= 255)
}

/// The hexadecimal digits, colons and dots around the colon at `at`, as far as an address can reach.
pub(super) fn run_around(bytes: &[u8], at: usize) -> Range<usize> {
    let part = |byte: &&u8| byte.is_ascii_hexdigit() || matches!(**byte, b':' | b'.');
    let before = bytes.get(..at).unwrap_or_default();
    let start = at - before.iter().rev().take(V6_BYTES).take_while(part).count();
    let rest = bytes.get(at..).unwrap_or_default();
    start..at + rest.iter().take(2 * V6_BYTES).take_while(part).count()
}

/// The IPv6 address that a run is, without punctuation that only follows it.
pub(super) fn v6(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut end = run.end;
    if is_word_before(bytes, run.start) || is_word_at(bytes, end) {
        return None;
    }
    // As in "from fe80::1." and "2001:db8::1: refused".
    for _ in 0..3 {
        let candidate = text.get(run.start..end)?;
        if is_v6(candidate) {
            return Some(run.start..zone_end(bytes, end));
        }
        if !candidate.ends_with([':', '.']) {
            return None;
        }
        end -= 1;
    }
    None
}

/// An address, and not what only looks like one: `::` and `abc::def` stand in source code, eight pairs of
/// digits are an EUI-64 (times and MAC addresses have too few groups to parse).
fn is_v6(text: &str) -> bool {
    let eui64 = text.len() == 23 && text.split(':').all(|group| group.len() == 2);
    !eui64 && text.bytes().any(|byte| byte.is_ascii_digit()) && text.parse::<Ipv6Addr>().is_ok()
}

/// The end of a zone such as `%eth0` after an address.
fn zone_end(bytes: &[u8], end: usize) -> usize {
    if bytes.get(end) != Some(&b'%') {
        return end;
    }
    let zone = bytes.get(end + 1..).unwrap_or_default();
    match zone.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count() {
        0 => end,
        length => end + 1 + length,
    }
}
