//! How each kind of value is written.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A type that a setting's text can be turned into. The error is the rule that the text breaks, as in
/// `must be a whole number`.
pub trait FromSetting: Sized {
    /// Parses the text.
    ///
    /// # Errors
    /// The rule, for the operator.
    fn from_setting(text: &str) -> Result<Self, String>;
}

/// A size in bytes, written with its unit: `512B`, `64KiB`, `8MiB`, `2GiB`, or decimal `64kB`, `8MB`, `2GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// As `usize`, at most `usize::MAX`.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// For settings with a few named values: the one that `text` names, in any case.
///
/// # Errors
/// The rule, listing the names.
pub fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", names.join(", "))
    })
}

const DURATION_UNITS: &[(&str, u64)] = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A time in the largest unit that divides it, as in `90s`.
pub(super) fn written(time: Duration) -> String {
    let micros = time.as_micros();
    let divides =
        |(_, size): &&(&str, u64)| micros >= u128::from(*size) && micros.is_multiple_of((*size).into());
    match DURATION_UNITS.iter().rev().find(divides) {
        Some((unit, size)) => format!("{}{unit}", micros / u128::from(*size)),
        None => format!("{micros}us"),
    }
}

/// A whole number followed by one of the units, in the smallest unit.
fn with_unit(text: &str, units: &[(&str, u64)], kind: &str, example: &str) -> Result<u64, String> {
    let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let rule = || format!("must be a {kind}: a whole number with a unit ({}), as in {example}", names());
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default().trim();
    let number: u64 = digits.parse().map_err(|_| rule())?;
    if unit.is_empty() {
        return Err(format!("needs a unit ({}), as in {example}", names()));
    }
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(rule)?;
    number.checked_mul(factor).ok_or_else(|| format!("is too large for a {kind}"))
}

impl FromSetting for Duration {
    fn from_setting(text: &str) -> Result<Self, String> {
        with_unit(text, DURATION_UNITS, "duration", "5s or 250ms").map(Self::from_micros)
    }
}

impl FromSetting for ByteSize {
    fn from_setting(text: &str) -> Result<Self, String> {
        with_unit(text, SIZE_UNITS, "size", "8MiB").map(Self)
    }
}

impl FromSetting for String {
    fn from_setting(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
    }
}

impl FromSetting for PathBuf {
    fn from_setting(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Err("must be a path".to_owned()) } else { Ok(Self::from(text)) }
    }
}

impl FromSetting for SocketAddr {
    fn from_setting(text: &str) -> Result<Self, String> {
        let rule = "must be an IP address with a port, as in 127.0.0.1:8000 or [::]:8000";
        // What people type who mean "this machine"; any other name could resolve to several addresses.
        let text = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse().map_err(|_| rule.to_owned())
    }
}

impl FromSetting for bool {
    fn from_setting(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl FromSetting for $number {
            fn from_setting(text: &str) -> Result<Self, String> {
                // 100_000 as in TOML and Rust.
                text.replace('_', "").parse().map_err(|_| {
                    format!("must be a whole number, {} to {}", Self::MIN, Self::MAX)
                })
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);

impl FromSetting for f64 {
    fn from_setting(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number: &Self| number.is_finite());
        number.ok_or_else(|| "must be a number".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in
            [("5s", 5_000), ("250ms", 250), ("30d", 2_592_000_000), ("10 m", 600_000), ("1h", 3_600_000)]
        {
            assert_eq!(Duration::from_setting(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(
            Duration::from_setting("5").unwrap_err(),
            "needs a unit (us, ms, s, m, h, d), as in 5s or 250ms"
        );
        for text in ["", "s", "-5s", "1.5s", "5 sec", "1h30m", "5S"] {
            assert!(Duration::from_setting(text).unwrap_err().starts_with("must be a duration"), "{text}");
        }
        assert_eq!(Duration::from_setting("99999999999999d").unwrap_err(), "is too large for a duration");
    }

    #[test]
    fn times_are_shown_as_they_are_written() {
        for text in ["0us", "1us", "1500us", "1ms", "90s", "2m", "1h", "36h", "30d"] {
            assert_eq!(written(Duration::from_setting(text).unwrap()), text);
        }
        assert_eq!(written(Duration::from_secs(7_200)), "2h");
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(ByteSize::from_setting("8MiB"), Ok(ByteSize(8 * 1024 * 1024)));
        assert_eq!(ByteSize::from_setting("512B"), Ok(ByteSize(512)));
        assert_eq!(ByteSize::from_setting("64kB"), Ok(ByteSize(64_000)));
        assert!(ByteSize::from_setting("8388608").unwrap_err().starts_with("needs a unit"));
        assert!(ByteSize::from_setting("8mib").is_err());
    }

    #[test]
    fn addresses_have_a_port() {
        assert!(SocketAddr::from_setting("127.0.0.1:8000").is_ok());
        assert!(SocketAddr::from_setting("[::1]:0").is_ok());
        assert_eq!(SocketAddr::from_setting("localhost:80"), Ok(([127, 0, 0, 1], 80).into()));
        for text in ["127.0.0.1", ":8000", "host:8000", "1.2.3.4:70000"] {
            assert!(SocketAddr::from_setting(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_and_switches() {
        assert_eq!(u64::from_setting("100_000"), Ok(100_000));
        assert_eq!(u32::from_setting("-1").unwrap_err(), "must be a whole number, 0 to 4294967295");
        assert_eq!(bool::from_setting("Yes"), Ok(true));
        assert!(bool::from_setting("maybe").is_err());
        assert!(f64::from_setting("inf").is_err());
        assert_eq!(String::from_setting(" ").unwrap_err(), "must not be empty");
    }
}
