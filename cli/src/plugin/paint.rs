//! What comes from a guest or a log, made fit for a terminal.

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
}
