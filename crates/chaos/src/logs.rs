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
}

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
        20..28 => numbered(&format!("unwanted-{device}"), "INFO", number, "1.5", Fate::Dropped),
        28..31 => numbered(&format!("sensor-{device}"), "INFO", number, "\"hot\"", Fate::Kept),
        31..43 => numbered(&format!("sensor-{device}"), "DEBUG", number, "1.5", Fate::Kept),
        _ => numbered(&format!("sensor-{device}"), "ERROR", number, "21.5", Fate::Kept),
    }
}

/// The message is unlike others too, so that it is not folded.
fn numbered(device: &str, level: &str, number: u64, temperature: &str, fate: Fate) -> Draft {
    let body = format!(
        r#"{{"device_id":"{device}","log_level":"{level}","message":"reading of ops@example.com in run x{number}x","log_data":{{"n":{number},"temperature":{temperature}}}}}"#
    );
    Draft { body, number: Some(number), fate }
}
