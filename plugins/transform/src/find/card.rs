//! Payment card numbers: 13 to 19 digits, also in groups joined by single spaces or dashes, that begin as
//! an issuer's numbers do (ISO/IEC 7812) and whose last digit is right by Luhn's sum. The beginnings keep out
//! times in milliseconds and the one in ten of other numbers that pass the sum by chance.

use std::ops::Range;

use super::{is_word_at, is_word_before};

/// The digits from `at` on, with single spaces and dashes between them.
pub(super) fn run(bytes: &[u8], at: usize) -> Range<usize> {
    let mut end = at;
    loop {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        match bytes.get(end) {
            Some(byte) if byte.is_ascii_digit() => end += 1,
            Some(b' ' | b'-') if digit(end + 1) => end += 1,
            _ => return at..end,
        }
    }
}

/// The card numbers in a run, each of whole groups.
pub(super) fn within(bytes: &[u8], run: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = run.start;
    std::iter::from_fn(move || {
        while at < run.end {
            let start = at;
            if let Some(end) = card_from(bytes, start, run.end) {
                at = end;
                return Some(start..end);
            }
            // On to the next group.
            at = next_group(bytes, start, run.end);
        }
        None
    })
}

fn next_group(bytes: &[u8], at: usize, end: usize) -> usize {
    let group = bytes.get(at..end).unwrap_or_default();
    at + group.iter().position(|byte| !byte.is_ascii_digit()).map_or(group.len(), |gap| gap + 1)
}

/// The end of the card number that starts at `start`, which starts a group.
fn card_from(bytes: &[u8], start: usize, run_end: usize) -> Option<usize> {
    let decimals = start.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'.');
    if decimals || is_word_before(bytes, start) {
        return None;
    }
    let mut number = Number::default();
    for (end, &byte) in bytes.get(..run_end)?.iter().enumerate().skip(start) {
        if byte.is_ascii_digit() {
            number.push(byte - b'0')?;
        } else if number.is_card() {
            return Some(end);
        }
    }
    (number.is_card() && !is_word_at(bytes, run_end)).then_some(run_end)
}

/// Digits of one number.
#[derive(Default)]
struct Number {
    digits: [u8; 19],
    len: usize,
}

impl Number {
    /// Nothing when there are too many.
    fn push(&mut self, digit: u8) -> Option<()> {
        *self.digits.get_mut(self.len)? = digit;
        self.len += 1;
        Some(())
    }

    fn is_card(&self) -> bool {
        let digits = self.digits.get(..self.len).unwrap_or_default();
        is_issued(digits) && luhn(digits)
    }
}

/// Whether an issuer's numbers begin so and have this length.
fn is_issued(digits: &[u8]) -> bool {
    let prefix = digits.iter().take(4).fold(0_u16, |value, digit| value * 10 + u16::from(*digit));
    match digits.len() {
        // Visa, long ago; Maestro.
        13 => prefix / 1000 == 4 || is_maestro(prefix),
        // Diners Club.
        14 => matches!(prefix, 3000..=3059 | 3600..=3699 | 3800..=3999) || is_maestro(prefix),
        // American Express.
        15 => matches!(prefix / 100, 34 | 37) || is_maestro(prefix),
        // Visa, Mastercard (two ranges), Diners Club, JCB, Discover, UnionPay, Maestro.
        16..=19 => {
            prefix / 1000 == 4
                || matches!(prefix, 5100..=5599 | 2221..=2720 | 3528..=3589 | 3600..=3699 | 3800..=3999)
                || matches!(prefix, 6011 | 6200..=6299 | 6440..=6599 | 8100..=8171)
                || is_maestro(prefix)
        }
        _ => false,
    }
}

fn is_maestro(prefix: u16) -> bool {
    matches!(prefix, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
}

/// Luhn's sum (ISO/IEC 7812-1, annex B): from the right, every second digit doubled.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| match u32::from(digit) * (1 + at as u32 % 2) {
            doubled @ 10.. => doubled - 9,
            plain => plain,
        })
        .sum();
    sum.is_multiple_of(10)
}
