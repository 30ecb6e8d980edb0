//! Simulated devices: varied, plausible and repeatable.

use std::fmt::Write as _;

/// One hundred kinds of trouble would not look more real than these few with changing numbers.
const MESSAGES: [&str; 8] = [
    "reading taken",
    "sensor recalibrated",
    "battery at {n} percent",
    "link to gateway 10.0.{n}.7 lost, retrying",
    "user operator{n}@example.com signed in",
    "temperature {n} over threshold",
    "watchdog restarted task {n}",
    "write of block {n} failed: no space left",
];

const LEVELS: [(&str, u32); 5] =
    [("DEBUG", 15), ("INFO", 60), ("WARNING", 15), ("ERROR", 8), ("CRITICAL", 2)];

/// Makes bodies for `POST /api/log` of `sensor-001`, `sensor-002` and so on.
pub struct Devices {
    count: u32,
    random: fastrand::Rng,
}

/// One body, and whose it is.
pub struct SimulatedLog {
    pub device_id: String,
    pub body: String,
}

impl Devices {
    /// `count` devices, at least one; the same seed gives the same logs.
    pub fn new(count: u32, seed: u64) -> Self {
        Self { count: count.max(1), random: fastrand::Rng::with_seed(seed) }
    }

    /// The next log of a random device.
    pub fn next_log(&mut self) -> SimulatedLog {
        let device_id = format!("sensor-{:03}", self.random.u32(1..=self.count));
        let number = self.random.u32(0..100);
        let message = self.random.choice(MESSAGES).unwrap_or_default().replace("{n}", &number.to_string());
        let mut body = format!(
            r#"{{"device_id":"{device_id}","log_level":"{}","message":"{message}","log_data":{{"temperature":{:.2}"#,
            self.level(),
            self.random.f64() * 60.0 - 10.0
        );
        self.push_details(&mut body, number);
        body.push_str("}}");
        SimulatedLog { device_id, body }
    }

    fn level(&mut self) -> &'static str {
        let mut dice = self.random.u32(0..LEVELS.iter().map(|(_, weight)| weight).sum());
        for (level, weight) in LEVELS {
            if dice < weight {
                return level;
            }
            dice -= weight;
        }
        "INFO"
    }

    fn push_details(&mut self, body: &mut String, number: u32) {
        let humidity = self.random.u32(0..=100);
        // Writing to a String cannot fail.
        let _ = write!(body, r#","humidity":{humidity},"firmware":"2.{}.{}""#, number % 7, number % 13);
        if self.random.u32(0..4) == 0 {
            let _ = write!(
                body,
                r#","position":{{"lat":{:.5},"lon":{:.5},"tags":["roof","nörd {number}"]}}"#,
                self.random.f64() * 90.0,
                self.random.f64() * 180.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Devices;
    use sawpit_model::{Limits, Timestamp, parse_log};

    #[test]
    fn every_simulated_log_is_valid_and_names_its_device() {
        let mut devices = Devices::new(100, 7);
        for _ in 0..2_000 {
            let log = devices.next_log();
            let parsed =
                parse_log(log.body.as_bytes(), &Limits::default(), Timestamp::from_micros(0)).unwrap();
            assert_eq!(parsed.device_id, log.device_id);
        }
    }

    #[test]
    fn the_same_seed_posts_the_same_logs() {
        let run = |seed| {
            let mut devices = Devices::new(5, seed);
            (0..50).map(|_| devices.next_log().body).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
