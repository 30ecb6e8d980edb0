//! What a terminal shows: colour, and texts of guests made harmless.

use std::io::IsTerminal;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// As asked for: `always`, `never`, or by what standard output is. <https://no-color.org>
    pub fn new(when: &str, no_color: Option<String>) -> Self {
        Self(match when {
            "always" => true,
            "never" => false,
            _ => std::io::stdout().is_terminal() && no_color.is_none_or(|value| value.is_empty()),
        })
    }

    /// What was there before.
    pub fn old(self, text: &str) -> String {
        self.with("31", text)
    }

    /// What is there now.
    pub fn new_text(self, text: &str) -> String {
        self.with("32", text)
    }

    /// A heading.
    pub fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What is wrong.
    pub fn wrong(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// By ECMA-48's SGR.
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The text without what could steer a terminal: control characters but the line feed become `U+FFFD`.
pub fn clean(text: &str) -> String {
    let harmless = |c: char| c == '\n' || !c.is_control();
    text.chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2J\u{9b}b\r\nzażółć"), "a\u{fffd}[2J\u{fffd}b\u{fffd}\nzażółć");
    }

    #[test]
    fn colour_is_as_asked_for() {
        assert_eq!(Paint::new("always", Some("1".to_owned())).old("x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::new("never", None).old("x"), "x");
    }
}
