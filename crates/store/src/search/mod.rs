//! Searching: for words of the message, and for members of `log_data`.
//!
//! What can be found is decided here and not by the database, so that both databases answer alike: a row has *terms*,
//! a query has terms, and a row is found when it has all of the query's. The databases only index them (PostgreSQL by
//! GIN over a `tsvector`, SQLite by FTS5), which a worker does when it is told to ([`IndexSettings`]).

mod older;
mod spans;
mod terms;

use std::fmt;

use sawpit_model::{RawObject, Timestamp};

pub(crate) use older::Indexable;
pub use older::{IndexedRows, OlderRows};
pub(crate) use spans::{Span, Spans};
pub(crate) use terms::{Terms, device_term, level_term};
use terms::{data_term, is_word, word_of};

/// Which terms a worker stores with its rows. Each makes commits slower: see `docs/postgresql.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSettings {
    /// The words of the message: `--text-index`.
    pub text: bool,
    /// The members of `log_data`: `--data-index`.
    pub data: bool,
    /// Most terms of one row; what comes after them is not found. First the words, in their order, then the members.
    pub terms: usize,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self { text: false, data: false, terms: 1_000 }
    }
}

impl IndexSettings {
    /// Whether rows have terms at all.
    pub(crate) const fn any(&self) -> bool {
        self.text || self.data
    }
}

/// One thing that a search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Index {
    /// The words of the message.
    Text,
    /// The members of `log_data`.
    Data,
}

impl Index {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Text, Self::Data];

    /// The workers' setting that keeps it.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Text => "--text-index",
            Self::Data => "--data-index",
        }
    }

    /// Its name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Data => "data",
        }
    }

    /// Has it kept from now on.
    pub(crate) const fn keep(self, settings: &mut IndexSettings) {
        match self {
            Self::Text => settings.text = true,
            Self::Data => settings.data = true,
        }
    }

    pub(crate) fn is_kept(self, settings: &IndexSettings) -> bool {
        match self {
            Self::Text => settings.text,
            Self::Data => settings.data,
        }
    }
}

/// Since when the indexes that a search needs are kept: what [`crate::Store::indexed`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexed {
    /// Rows received from this time on are found; of older ones only those that were stored later.
    Since(Timestamp),
    /// No worker keeps this one, so nothing can be found.
    Missing(Index),
}

/// What a row must have to be found: every word and every member. Empty, it is no search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    terms: Vec<Term>,
}

/// One term of a search.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term {
    /// Of letters and digits, or as [`data_term`] makes it: it holds nothing that means something to a database.
    pub(crate) text: String,
    pub(crate) index: Index,
    pub(crate) whole: Whole,
}

/// What a term must be equal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whole {
    /// A whole word.
    Word,
    /// The beginning of one.
    Prefix,
}

/// A text that holds no word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must hold a word, which is letters and digits; with * behind it, as in temp*, it is the beginning of one"
)]
pub struct NoWordError;

/// A path that can be no member's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must name a member of log_data, as in data.unit=C or data.door.open=true")]
pub struct NoPathError;

impl Search {
    /// Looks for each word of `text` in the message: letters and digits between other characters, in any case. With
    /// `*` behind it, it may be the beginning of a word.
    ///
    /// # Errors
    /// When there is no word in it.
    pub fn words(&mut self, text: &str) -> Result<(), NoWordError> {
        let (mut rest, before) = (text, self.terms.len());
        while let Some(start) = rest.find(is_word) {
            rest = rest.get(start..).unwrap_or_default();
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let whole = if after.starts_with('*') { Whole::Prefix } else { Whole::Word };
            self.add(Term { text: word_of(word), index: Index::Text, whole });
            rest = after;
        }
        if self.terms.len() == before && !text.contains(is_word) { Err(NoWordError) } else { Ok(()) }
    }

    /// Looks for a member of `log_data`: the keys from the outermost to the innermost with dots between, and its
    /// value. Equal is what is the same text, or the same number. Of an array each element counts.
    ///
    /// # Errors
    /// When the path is empty.
    pub fn data(&mut self, path: &str, value: &str) -> Result<(), NoPathError> {
        if path.is_empty() {
            return Err(NoPathError);
        }
        self.add(Term { text: data_term(path, value), index: Index::Data, whole: Whole::Word });
        Ok(())
    }

    /// A term that is there twice is looked for once.
    fn add(&mut self, term: Term) {
        if let Err(place) = self.terms.binary_search(&term) {
            self.terms.insert(place, term);
        }
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// How many words and members are looked for.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.terms.len()
    }

    /// The indexes that it needs.
    pub fn indexes(&self) -> impl Iterator<Item = Index> {
        Index::ALL.into_iter().filter(|index| self.terms.iter().any(|term| term.index == *index))
    }

    pub(crate) fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether this row would be found if it were indexed whole; nothing is looked up.
    #[must_use]
    pub fn finds(&self, message: &str, log_data: &RawObject) -> bool {
        let needs = |index| self.terms.iter().any(|term| term.index == index);
        let all = IndexSettings { text: needs(Index::Text), data: needs(Index::Data), terms: usize::MAX };
        let terms = Terms::of(message, log_data, &all);
        self.terms.iter().all(|term| match term.whole {
            Whole::Word => terms.iter().any(|found| found == term.text),
            Whole::Prefix => terms.iter().any(|found| found.starts_with(&term.text)),
        })
    }
}

/// The terms in order: two searches that mean the same have the same text.
impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, term) in self.terms.iter().enumerate() {
            let star = if term.whole == Whole::Prefix { "*" } else { "" };
            write!(f, "{}{}{star}", if n == 0 { "" } else { " " }, term.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(words: &str, data: &[(&str, &str)]) -> Search {
        let mut search = Search::default();
        if !words.is_empty() {
            search.words(words).unwrap();
        }
        for (path, value) in data {
            search.data(path, value).unwrap();
        }
        search
    }

    #[test]
    fn words_are_found_in_any_case_and_whole() {
        let data = RawObject::from_trusted("{}");
        let message = "Door #7 (north) OPEN: Tür Straße 温度 ops@example.com";
        for (words, found) in [
            ("door", true),
            ("open door", true),
            ("door closed", false),
            ("doo", false),
            ("doo*", true),
            ("7", true),
            ("TÜR", true),
            ("straße", true),
            ("温度", true),
            ("example com", true),
            ("ops@example.com", true),
            ("(north)", true),
        ] {
            assert_eq!(search(words, &[]).finds(message, &data), found, "{words}");
        }
    }

    #[test]
    fn members_are_equal_as_text_or_number() {
        let data = RawObject::from_trusted(
            r#"{"unit":"C","t":71.50,"n":12,"door":{"open":true,"by":null},"tags":["a","b",{"x":1}],
                "text":"71.5","zip":"007","big":1e3,"a.b":"dotted","q":"\u0022é"}"#,
        );
        for (path, value, found) in [
            ("unit", "C", true),
            ("unit", "c", false),
            ("t", "71.5", true),
            ("t", "7.15e1", true),
            ("text", "71.50", true),
            ("n", "12", true),
            ("n", "12.0", true),
            ("zip", "7", false),
            ("zip", "007", true),
            ("big", "1000", true),
            ("door.open", "true", true),
            ("door.open", "false", false),
            ("door.by", "null", true),
            ("tags", "b", true),
            ("tags.x", "1", true),
            ("a.b", "dotted", true),
            ("q", "\"é", true),
            ("door", "true", false),
        ] {
            assert_eq!(search("", &[(path, value)]).finds("m", &data), found, "{path}={value}");
        }
    }

    #[test]
    fn all_must_be_there() {
        let data = RawObject::from_trusted(r#"{"unit":"C","t":1}"#);
        assert!(search("door", &[("unit", "C"), ("t", "1")]).finds("a door", &data));
        assert!(!search("door", &[("unit", "C"), ("t", "2")]).finds("a door", &data));
        assert!(!search("wall", &[("unit", "C"), ("t", "1")]).finds("a door", &data));
        assert!(Search::default().finds("a door", &data));
    }

    #[test]
    fn what_means_the_same_has_the_same_text() {
        assert_eq!(search("Open door", &[]), search("door,OPEN open", &[]));
        assert_eq!(search("open door temp*", &[]).to_string(), "door open temp*");
        assert_eq!(search("a", &[("t", "1.0")]), search("a", &[("t", "1")]));
        assert_eq!(search("a", &[("t", "1")]).indexes().collect::<Vec<_>>(), Index::ALL);
    }

    #[test]
    fn texts_without_words_and_empty_paths_are_refused() {
        for text in ["", " ", "*", "!?", "- * -"] {
            assert_eq!(Search::default().words(text), Err(NoWordError), "{text:?}");
        }
        assert_eq!(Search::default().data("", "x"), Err(NoPathError));
        let mut search = search("door", &[]);
        assert_eq!(search.words("Door!"), Ok(()));
        assert_eq!(search.len(), 1);
    }
}
