//! Letters as text. A log's own text is escaped: it must not steer the operator's terminal.

use sawpit_queue::DeadLetter;

/// Characters of a reason in the table.
const REASON_CHARS: usize = 60;

/// The table's first line.
pub fn header() -> String {
    format!("{:<20} {:<27} {:<20} {:<24} {:>5} REASON", "ID", "WHEN", "DEVICE", "PLUGIN", "TRIES")
}

/// One letter in the table.
pub fn line(letter: &DeadLetter) -> String {
    let device = letter.fields.iter().find(|(name, _)| name == "device_id").map_or("-", |(_, value)| value);
    let plugin = letter.plugin.as_deref().and_then(|plugin| plugin.split('#').next()).unwrap_or("-");
    let reason = plain(letter.reason.lines().next().unwrap_or_default());
    let shown: String = reason.chars().take(REASON_CHARS).collect();
    let cut = if shown.len() < reason.len() || letter.reason.contains('\n') { "…" } else { "" };
    format!(
        "{:<20} {:<27} {:<20} {:<24} {:>5} {shown}{cut}",
        letter.id.to_string(),
        letter.buried_at.to_string(),
        plain(device),
        plain(plugin),
        letter.tries,
    )
}

/// One letter whole: why it is here, and its fields.
pub fn whole(letter: &DeadLetter) -> String {
    let mut text = format!("dead letter {}\n", letter.id);
    let mut add = |name: &str, value: &str| text.push_str(&format!("  {name:<11} {value}\n"));
    add("message id", &letter.message_id.to_string());
    add("buried at", &letter.buried_at.to_string());
    add("plugin", &plain(letter.plugin.as_deref().unwrap_or("-")));
    add("tries", &letter.tries.to_string());
    let reason: Vec<String> = letter.reason.lines().map(plain).collect();
    add("reason", &reason.join("\n              "));
    for (name, value) in &letter.fields {
        text.push_str(&format!("{}: {}\n", plain(name), plain(value)));
    }
    text
}

fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use sawpit_model::{MessageId, Timestamp};

    use super::*;

    fn letter(reason: &str) -> DeadLetter {
        DeadLetter {
            id: MessageId { ms: 7, seq: 0 },
            message_id: MessageId { ms: 5, seq: 1 },
            reason: reason.to_owned(),
            plugin: Some("geo@1.0.0#ab".to_owned()),
            tries: 1,
            buried_at: Timestamp::from_micros(7_000),
            fields: vec![("device_id".to_owned(), "d\u{1b}[31m".to_owned())],
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        for text in [line(&letter("a\u{7}b")), whole(&letter("a\u{7}b"))] {
            assert!(!text.trim_end().replace('\n', "").contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_and_the_whole_has_the_trace() {
        let letter = letter("trap\n  0: geo!filter");
        assert!(line(&letter).ends_with("geo@1.0.0                    1 trap…"), "{}", line(&letter));
        assert!(whole(&letter).contains("trap\n                0: geo!filter\n"), "{}", whole(&letter));
    }
}
