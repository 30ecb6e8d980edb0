//! Finding what is to be taken out of a text.
//!
//! Key decision: written by hand instead of as regular expressions. One pass looks only at the bytes that
//! each kind of match must have (`@`, digits, `:`, `=`, …) and looks around from there, and what is hard to say as
//! a pattern (Luhn's sum, a valid IPv6 address, a time that only looks like one) is said as code.

mod card;
mod email;
mod ip;
mod secret;

use std::ops::Range;

pub(crate) use secret::SecretKeys;

use crate::Class;

/// A part of a text and what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) range: Range<usize>,
    pub(crate) label: &'static str,
}

/// Finds the classes that were asked for.
#[derive(Debug)]
pub(crate) struct Finder {
    email: bool,
    ip: bool,
    card: bool,
    secret: Option<SecretKeys>,
}

impl Finder {
    pub(crate) fn new(classes: &[Class], secret: Option<SecretKeys>) -> Self {
        let has = |class| classes.contains(&class);
        Self { email: has(Class::Email), ip: has(Class::Ip), card: has(Class::Card), secret }
    }

    /// The matches in order, none overlapping.
    pub(crate) fn find(&self, text: &str) -> Vec<Match> {
        let bytes = text.as_bytes();
        let mut found = Vec::new();
        // What was looked at as a whole is not looked at again from its middle.
        let mut past = Past::default();
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'@' => self.at_sign(bytes, at, &mut found),
                b'=' => self.separator(text, at, &mut past, &mut found),
                b':' => {
                    self.separator(text, at, &mut past, &mut found);
                    self.colon(text, at, &mut past, &mut found);
                }
                b'0'..=b'9' => self.digit(text, at, &mut past, &mut found),
                b'A' | b'B' | b'b' | b'e' if !is_word_before(bytes, at) => self.word(text, at, &mut found),
                _ => {}
            }
        }
        without_overlaps(found)
    }

    fn at_sign(&self, bytes: &[u8], at: usize, found: &mut Vec<Match>) {
        // In `amqp://user:password@host` the password is no mailbox.
        if let Some(range) = self.secret.as_ref().and_then(|_| secret::url_password(bytes, at)) {
            found.push(Match { range, label: "[secret]" });
        } else if let Some(range) = self.email.then(|| email::around(bytes, at)).flatten() {
            found.push(Match { range, label: "[email]" });
        }
    }

    fn separator(&self, text: &str, at: usize, past: &mut Past, found: &mut Vec<Match>) {
        let Some(keys) = self.secret.as_ref().filter(|_| at >= past.secret) else { return };
        if let Some(range) = keys.value_after(text, at) {
            past.secret = range.end;
            found.push(Match { range, label: "[secret]" });
        }
    }

    fn colon(&self, text: &str, at: usize, past: &mut Past, found: &mut Vec<Match>) {
        if !self.ip || at < past.ipv6 {
            return;
        }
        let run = ip::run_around(text.as_bytes(), at);
        past.ipv6 = run.end;
        if let Some(range) = ip::v6(text, run) {
            found.push(Match { range, label: "[ip]" });
        }
    }

    fn digit(&self, text: &str, at: usize, past: &mut Past, found: &mut Vec<Match>) {
        let bytes = text.as_bytes();
        if self.ip && at >= past.ipv4 {
            let run = ip::dotted_run(bytes, at);
            past.ipv4 = run.end;
            if let Some(range) = ip::v4(bytes, run) {
                found.push(Match { range, label: "[ip]" });
            }
        }
        if self.card && at >= past.card {
            let run = card::run(bytes, at);
            past.card = run.end;
            found.extend(card::within(bytes, run).map(|range| Match { range, label: "[card]" }));
        }
    }

    fn word(&self, text: &str, at: usize, found: &mut Vec<Match>) {
        if let Some(range) = self.secret.as_ref().and_then(|_| secret::known_shape(text, at)) {
            found.push(Match { range, label: "[secret]" });
        }
    }
}

/// Up to where runs were looked at.
#[derive(Default)]
struct Past {
    ipv4: usize,
    ipv6: usize,
    card: usize,
    secret: usize,
}

/// Whether the byte belongs to a word: letters, digits, `_` and all that is not ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(|&byte| is_word(byte))
}

fn is_word_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|&byte| is_word(byte))
}

/// Joins matches that overlap, under the label of the longer one.
fn without_overlaps(mut found: Vec<Match>) -> Vec<Match> {
    found.sort_by_key(|it| it.range.start);
    found.dedup_by(|next, kept| {
        if next.range.start >= kept.range.end {
            return false;
        }
        if next.range.len() > kept.range.len() {
            kept.label = next.label;
        }
        kept.range.end = kept.range.end.max(next.range.end);
        true
    });
    found
}
