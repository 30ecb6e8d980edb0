//! Patterns over device ids, as operators write them.

use serde::{Deserialize, Deserializer};

/// A pattern over a whole text: `*` is any number of characters, `?` is one, all else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Takes a pattern; every text is one.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many characters stand for themselves: of two patterns that match, the higher one says more.
    #[must_use]
    pub fn literals(&self) -> usize {
        self.0.chars().filter(|c| !matches!(c, '*' | '?')).count()
    }

    /// Whether the whole text fits the pattern, in time at most pattern × text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut text) = (self.0.chars(), text.chars());
        // Where to go on when the characters after the last `*` turn out not to fit: the `*` takes one more.
        let mut retry = None;
        loop {
            match pattern.next() {
                Some('*') => retry = Some((pattern.clone(), text.clone())),
                Some('?') if text.next().is_some() => {}
                Some(expected) if expected != '?' && text.clone().next() == Some(expected) => {
                    text.next();
                }
                None if text.as_str().is_empty() => return true,
                _ => {
                    let Some((after, mut skipped)) = retry else { return false };
                    if skipped.next().is_none() {
                        return false;
                    }
                    (pattern, text) = (after.clone(), skipped.clone());
                    retry = Some((after, skipped));
                }
            }
        }
    }
}

impl Default for Glob {
    /// `*`, which fits all.
    fn default() -> Self {
        Self("*".to_owned())
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).matches(text)
    }

    #[test]
    fn fits_whole_texts() {
        assert!(matches("sensor-*", "sensor-12") && matches("sensor-*", "sensor-"));
        assert!(matches("*-a*b?", "x-a-aab1") && matches("*", "") && matches("a?c", "aßc"));
        assert!(!matches("sensor-*", "pump-1") && !matches("a", "ab") && !matches("?", ""));
        assert!(!matches("*b", "abc") && !matches("", "a") && matches("", ""));
    }

    /// The definition, slowly.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                slow(rest, text) || text.split_first().is_some_and(|(_, text)| slow(pattern, text))
            }
            (Some((p, rest)), Some((c, text))) => (*p == '?' || p == c) && slow(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,7}", text in "[ab]{0,8}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), slow(&p, &t));
        }
    }
}
