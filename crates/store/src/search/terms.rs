//! The terms of a row.

use std::collections::HashSet;

use sawpit_model::{Level, RawObject};
use serde_json::Value;

use super::IndexSettings;

/// Longer words are indexed, and looked for, by their first bytes.
const WORD_BYTES: usize = 64;

/// Begins the term of a member, a device or a level. It is in no word, and means nothing to PostgreSQL's or SQLite's tokenisers.
const DATA_MARK: char = '§';

/// The terms of a row, each once.
#[derive(Debug, Default)]
pub(crate) struct Terms(Vec<String>);

impl Terms {
    pub(crate) fn of(message: &str, log_data: &RawObject, settings: &IndexSettings) -> Self {
        let mut found = Found { terms: Vec::new(), known: HashSet::new(), most: settings.terms };
        if settings.text {
            for word in message.split(|c| !is_word(c)).filter(|word| !word.is_empty()) {
                found.add(word_of(word));
            }
        }
        // It was checked to be JSON; nested deeper than serde_json reads, its members are not found.
        if settings.data
            && let Ok(data) = serde_json::from_str::<Value>(log_data.as_str())
        {
            members(&data, &mut String::new(), &mut found);
        }
        Self(found.terms)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What is stored with a row: its terms and those of its device and level, with spaces between, as both databases take
    /// them. None for a row without terms.
    pub(crate) fn of_row(&self, device_id: &str, log_level: Level) -> Option<String> {
        if self.0.is_empty() {
            None
        } else {
            Some(format!("{} {} {}", self.0.join(" "), device_term(device_id), level_term(log_level)))
        }
    }
}

struct Found {
    terms: Vec<String>,
    known: HashSet<String>,
    most: usize,
}

impl Found {
    fn add(&mut self, term: String) {
        if self.terms.len() < self.most && self.known.insert(term.clone()) {
            self.terms.push(term);
        }
    }
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric()
}

/// Character by character, so that a word's beginning is a beginning of its term.
pub(super) fn word_of(word: &str) -> String {
    let mut term: String = word.chars().flat_map(char::to_lowercase).collect();
    term.truncate(term.floor_char_boundary(WORD_BYTES));
    term
}

fn members(value: &Value, path: &mut String, found: &mut Found) {
    let text = match value {
        Value::Object(object) => {
            for (key, value) in object {
                let before = path.len();
                if before > 0 {
                    path.push('.');
                }
                path.push_str(key);
                members(value, path, found);
                path.truncate(before);
            }
            return;
        }
        Value::Array(elements) => {
            for element in elements {
                members(element, path, found);
            }
            return;
        }
        Value::String(text) => return found.add(data_term(path, text)),
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
    };
    found.add(data_term(path, &text));
}

/// A digest, so that neither the length nor the characters of a value matter. 64 bits: that two of a system's values
/// meet is less likely than a disk that errs, and would show a row too many.
pub(super) fn data_term(path: &str, value: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    // NUL is in neither: the host refuses it.
    hasher.update(path.as_bytes()).update(&[0]).update(canonical(value).as_bytes());
    digest_term(&hasher)
}

fn digest_term(hasher: &blake3::Hasher) -> String {
    let digest = hasher.finalize();
    let bytes = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    format!("{DATA_MARK}{:016x}", u64::from_be_bytes(bytes))
}

/// The device is a term as well: of a word that many rows have, the index then finds those of one device, at the same
/// cost however many the others have.
pub(crate) fn device_term(device_id: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    // Of a member the first NUL stands alone.
    hasher.update(&[0, 0]).update(device_id.as_bytes());
    digest_term(&hasher)
}

/// And the level: of a common word in a rare level, the index then finds those rows without reading all with the word.
/// Shorter than a digest, so it is none's.
pub(crate) fn level_term(level: Level) -> String {
    format!("{DATA_MARK}{}", level.code())
}

/// A number in the one way that it is compared, as a 64-bit float where it is no 64-bit integer; else the text.
fn canonical(text: &str) -> String {
    let looks_like_one = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit());
    if !looks_like_one {
        return text.to_owned();
    }
    match serde_json::from_str::<serde_json::Number>(text) {
        Ok(number) if number.is_f64() => match number.as_f64() {
            // Minus zero is zero.
            Some(float) => (float + 0.0).to_string(),
            None => text.to_owned(),
        },
        Ok(number) => number.to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(message: &str, data: &str, settings: &IndexSettings) -> Vec<String> {
        Terms::of(message, &RawObject::from_trusted(data), settings).0
    }

    #[test]
    fn only_what_is_asked_for() {
        let data = r#"{"a":1}"#;
        let neither = IndexSettings::default();
        let text = IndexSettings { text: true, ..neither.clone() };
        let both = IndexSettings { data: true, ..text.clone() };
        assert!(terms("a word", data, &neither).is_empty());
        assert_eq!(terms("a word, a Word", data, &text), ["a", "word"]);
        assert_eq!(terms("word", data, &both), ["word".to_owned(), data_term("a", "1")]);
    }

    #[test]
    fn the_limit_of_terms_is_obeyed() {
        let settings = IndexSettings { text: true, data: true, terms: 3 };
        let data = r#"{"a":1,"b":2}"#;
        assert_eq!(terms("one two", data, &settings).len(), 3);
        assert_eq!(terms("one two three four", data, &settings), ["one", "two", "three"]);
        assert_eq!(terms("one one one one two", "{}", &settings), ["one", "two"]);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let word = "é".repeat(40);
        assert_eq!(word_of(&word), "é".repeat(32));
        assert_eq!(word_of(&"x".repeat(65)), "x".repeat(64));
    }

    #[test]
    fn device_and_level_are_terms_of_every_row_that_has_any() {
        let settings = IndexSettings { text: true, data: false, terms: 1 };
        let stored =
            |message| Terms::of(message, &RawObject::default(), &settings).of_row("d1", Level::Error);
        assert_eq!(stored("door open"), Some(format!("door {} §3", device_term("d1"))));
        assert_eq!(stored("!"), None);
        assert!(device_term("d1") != device_term("d2") && device_term("d1") != data_term("", "d1"));
    }

    #[test]
    fn a_term_means_nothing_to_a_database() {
        let term = data_term("it's", "a:b | 'c' \\ *");
        assert!(term.chars().all(|c| c == DATA_MARK || c.is_ascii_hexdigit()), "{term}");
    }
}
