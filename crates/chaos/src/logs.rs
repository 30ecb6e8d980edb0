//! The logs that are posted. Each can be recognised when it is stored, or is meant to be folded with its like.

use fastrand::Rng;

/// A log before it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The body of `POST /api/log`.
    pub body: String,
    /// The number that it carries in `log_data`, which no other log does. None for those that may be folded.
    pub number: Option<u64>,
    /// Whether the transformer of this run drops it.
    pub fate: Fate,
}

/// What the plugins of the run do with a log that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept, alone or folded with its like.
    Kept,
    /// A transformer drops it.
    Dropped,
    /// A transformer fails on it, each time: it is buried.
    Dead,
}

/// What most logs carry.
const TEMPERATURE: &str = r#""temperature":21.5"#;

/// The next log; `number` is one that no other log has.
pub fn draft(random: &mut Rng, number: u64) -> Draft {
    let device = random.u32(0..40);
    match random.u32(0..100) {
        0..20 => Draft {
            body: format!(
                r#"{{"device_id":"sensor-{}","log_level":"INFO","message":"heartbeat"}}"#,
                device % 4
            ),
            number: None,
            fate: Fate::Kept,
        },
        20..28 => numbered(&format!("unwanted-{device}"), "INFO", number, TEMPERATURE, Fate::Dropped),
        28..31 => numbered(&format!("sensor-{device}"), "INFO", number, r#""temperature":"hot""#, Fate::Kept),
        31..43 => numbered(&format!("sensor-{device}"), "DEBUG", number, TEMPERATURE, Fate::Kept),
        43..45 => numbered(&format!("poison-{device}"), "ERROR", number, TEMPERATURE, Fate::Dead),
        _ => numbered(&format!("sensor-{device}"), "ERROR", number, TEMPERATURE, Fate::Kept),
    }
}

/// The message is unlike others too, so that it is not folded.
fn numbered(device: &str, level: &str, number: u64, data: &str, fate: Fate) -> Draft {
    // The letter that sets the failing transformer off.
    let run = if fate == Fate::Dead { "run X" } else { "run" };
    let body = format!(
        r#"{{"device_id":"{device}","log_level":"{level}","message":"reading of ops@example.com in {run} x{number}x","log_data":{{"n":{number},{data}}}}}"#
    );
    Draft { body, number: Some(number), fate }
}

/// The number of a log, read from its `log_data`. By its text: what is buried may be what no parser takes.
pub fn number_in(log_data: &str) -> Option<u64> {
    let digits = log_data.split_once(r#""n":"#)?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_every_fate_are_made_and_their_numbers_found_again() {
        let mut random = Rng::with_seed(1);
        let drafts: Vec<_> = (0..1_000).map(|number| draft(&mut random, number)).collect();
        for fate in [Fate::Kept, Fate::Dropped, Fate::Dead] {
            assert!(drafts.iter().any(|draft| draft.fate == fate), "{fate:?}");
        }
        assert!(drafts.iter().all(|draft| number_in(&draft.body) == draft.number));
    }

    #[test]
    fn what_carries_no_number_has_none() {
        for text in ["{}", r#"{"n":"x"}"#, r#"{"m":5}"#] {
            assert_eq!(number_in(text), None, "{text}");
        }
    }
}
