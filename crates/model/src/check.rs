//! The one pass over `log_data`: everything that JSON allows and we do not.
//!
//! What PostgreSQL's jsonb refuses must be refused here, while the device still waits for its answer; later
//! it could only be buried. The pass keeps its own stack, so hostile nesting cannot exhaust the thread's.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use crate::scan::scalar_end;
use crate::text::{TextFault, escape, unescape};
use crate::{Limits, RawObjectError};

/// Up to this many keys are compared each with each, which takes no allocation.
const FEW_KEYS: usize = 16;
/// A number of at most this many bytes without an exponent is below the largest 64-bit float (309 digits).
const PLAIN_NUMBER_BYTES: usize = 300;
/// Exponents of the smallest and the largest 64-bit float. An exponent outside could also make jsonb print
/// one number as 16,383 digits.
const EXPONENTS: std::ops::RangeInclusive<i32> = -324..=308;
/// Most decimals of PostgreSQL's numeric.
const NUMERIC_DECIMALS: i64 = 16_383;

/// Checks objects, keeping its memory from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// The objects and arrays that are open.
    open: Vec<Open>,
    /// The keys seen so far in all open objects.
    keys: Vec<Key>,
    /// The members that a later one of the same name replaces; none may be in another.
    cuts: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Debug)]
enum Open {
    Array,
    /// Where its keys begin in [`Checker::keys`], and whether the next string is one.
    Object {
        keys: usize,
        key_next: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Key {
    start: usize,
    end: usize,
    escaped: bool,
}

impl Checker {
    /// Checks `text`, which must be valid JSON without white space around it, and resolves duplicate keys:
    /// the last wins. Without any the text comes back as it is.
    pub(crate) fn check<'a>(
        &mut self,
        text: &'a str,
        limits: &Limits,
    ) -> Result<Cow<'a, str>, RawObjectError> {
        if !text.starts_with('{') {
            return Err(RawObjectError::NotAnObject { found: crate::scan::kind(text) });
        }
        if text.len() > limits.log_data_bytes {
            return Err(RawObjectError::TooLong { bytes: text.len(), limit: limits.log_data_bytes });
        }
        self.open.clear();
        self.keys.clear();
        self.cuts.clear();
        self.pass(text, limits)?;
        Ok(self.without_cuts(text))
    }

    fn pass(&mut self, text: &str, limits: &Limits) -> Result<(), RawObjectError> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at = match byte {
                b'"' => self.string(bytes, at)?,
                b'-' | b'0'..=b'9' => number(text, at, limits)?,
                _ => {
                    self.mark(*byte, text, limits)?;
                    at + 1
                }
            };
        }
        Ok(())
    }

    /// Brackets, colons, commas; the letters of `true`, `false`, `null` and white space mean nothing here.
    fn mark(&mut self, byte: u8, text: &str, limits: &Limits) -> Result<(), RawObjectError> {
        match byte {
            b'{' => self.enter(Open::Object { keys: self.keys.len(), key_next: true }, limits),
            b'[' => self.enter(Open::Array, limits),
            b'}' | b']' => {
                self.leave(text);
                Ok(())
            }
            b',' | b':' => {
                if let Some(Open::Object { key_next, .. }) = self.open.last_mut() {
                    *key_next = byte == b',';
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, open: Open, limits: &Limits) -> Result<(), RawObjectError> {
        if self.open.len() >= limits.log_data_depth {
            return Err(RawObjectError::TooDeep { limit: limits.log_data_depth });
        }
        self.open.push(open);
        Ok(())
    }

    fn leave(&mut self, text: &str) {
        if let Some(Open::Object { keys, .. }) = self.open.pop() {
            cut_duplicates(text, self.keys.get(keys..).unwrap_or_default(), &mut self.cuts);
            self.keys.truncate(keys);
        }
    }

    /// Past the string that starts at `start`, whose escapes are checked.
    fn string(&mut self, bytes: &[u8], start: usize) -> Result<usize, RawObjectError> {
        let mut at = start + 1;
        let mut escaped = false;
        while let Some(found) = memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
            at += found;
            if bytes.get(at) == Some(&b'"') {
                break;
            }
            escaped = true;
            let rest = bytes.get(at..).unwrap_or_default();
            at += escape(rest).map_err(|fault| RawObjectError::of_text(fault, at))?.1;
        }
        let end = at + 1;
        if let Some(Open::Object { key_next: true, .. }) = self.open.last() {
            self.keys.push(Key { start, end, escaped });
        }
        Ok(end)
    }

    fn without_cuts<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        if self.cuts.is_empty() {
            return Cow::Borrowed(text);
        }
        // An outer cut begins before those inside it, which it makes void.
        self.cuts.sort_unstable_by_key(|cut| (cut.start, std::cmp::Reverse(cut.end)));
        let mut kept = String::with_capacity(text.len());
        let mut at = 0;
        for cut in &self.cuts {
            kept.push_str(text.get(at..cut.start).unwrap_or_default());
            at = at.max(cut.end);
        }
        kept.push_str(text.get(at..).unwrap_or_default());
        Cow::Owned(kept)
    }
}

impl RawObjectError {
    const fn of_text(fault: TextFault, at: usize) -> Self {
        match fault {
            TextFault::Nul => Self::Nul { at },
            TextFault::LoneSurrogate => Self::LoneSurrogate { at },
        }
    }
}

/// Adds to `cuts` each member that a later one of the same object replaces: from its key up to the next key.
fn cut_duplicates(text: &str, keys: &[Key], cuts: &mut Vec<Range<usize>>) {
    if keys.len() < 2 || (keys.len() <= FEW_KEYS && few_differ(text, keys)) {
        return;
    }
    let mut named: Vec<(Cow<'_, str>, usize)> =
        keys.iter().enumerate().map(|(index, key)| (key.name(text), index)).collect();
    named.sort_unstable();
    for pair in named.windows(2) {
        if let [(name, index), (next, _)] = pair
            && name == next
            && let Some([key, after]) = keys.get(*index..*index + 2)
        {
            cuts.push(key.start..after.start);
        }
    }
}

/// Whether the keys surely differ, by their texts alone.
fn few_differ(text: &str, keys: &[Key]) -> bool {
    let mut rest = keys;
    while let Some((key, others)) = rest.split_first() {
        let raw = text.get(key.start..key.end);
        if key.escaped || others.iter().any(|other| text.get(other.start..other.end) == raw) {
            return false;
        }
        rest = others;
    }
    true
}

impl Key {
    fn name(self, text: &str) -> Cow<'_, str> {
        let raw = text.get(self.start..self.end).unwrap_or_default();
        // Its escapes were checked, so it does unescape.
        unescape(raw).unwrap_or(Cow::Borrowed(raw))
    }
}

/// Past the number at `start`.
fn number(text: &str, start: usize, limits: &Limits) -> Result<usize, RawObjectError> {
    let end = scalar_end(text.as_bytes(), start);
    let number = text.get(start..end).unwrap_or_default();
    if number.len() > limits.number_bytes {
        return Err(RawObjectError::NumberTooLong {
            at: start,
            bytes: number.len(),
            limit: limits.number_bytes,
        });
    }
    let plain = number.len() <= PLAIN_NUMBER_BYTES && !number.bytes().any(|b| matches!(b, b'e' | b'E'));
    if plain || fits(number) { Ok(end) } else { Err(RawObjectError::NumberRange { at: start }) }
}

/// Whether a 64-bit float and PostgreSQL's numeric hold the number.
fn fits(number: &str) -> bool {
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let Ok(exponent) = exponent.parse::<i32>() else { return false };
    let scale = i64::try_from(decimals).unwrap_or(i64::MAX).saturating_sub(i64::from(exponent));
    EXPONENTS.contains(&exponent)
        && scale <= NUMERIC_DECIMALS
        && number.parse::<f64>().is_ok_and(f64::is_finite)
}
