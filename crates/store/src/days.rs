//! The days that have a partition of their own.

use sawpit_model::Timestamp;
use time::{Date, Duration, OffsetDateTime};

/// Days before today: what is late by less than a day still finds its partition.
const BEFORE: i64 = 1;
/// Days after today: maintenance may be absent for so long before rows go to the default partition.
const AHEAD: i64 = 3;

/// One day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(Date);

impl Day {
    /// Yesterday to three days ahead of `now`; fewer at the ends of the calendar.
    pub(crate) fn around(now: Timestamp) -> Vec<Self> {
        let today = OffsetDateTime::from(now).date();
        (-BEFORE..=AHEAD).filter_map(|n| Some(Self(today.checked_add(Duration::days(n))?))).collect()
    }

    /// As the database takes it.
    pub(crate) const fn date(self) -> Date {
        self.0
    }

    /// Name of the day's partition. Made of digits only, so it needs no quotes.
    pub(crate) fn table(self) -> String {
        format!("logs_{:04}{:02}{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }

    /// The day whose partition has this name; none for tables of other names.
    pub(crate) fn of_table(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("logs_").filter(|digits| digits.len() == 8)?;
        let part = |range| digits.get(range).and_then(|digits: &str| digits.parse::<u16>().ok());
        let month = u8::try_from(part(4..6)?).ok()?.try_into().ok()?;
        let day = u8::try_from(part(6..8)?).ok()?;
        let day = Date::from_calendar_date(part(0..4)?.into(), month, day).ok().map(Self)?;
        (day.table() == name).then_some(day)
    }

    /// Whether its last moment is before this time.
    pub(crate) fn is_over(self, before: Timestamp) -> bool {
        self.0 < OffsetDateTime::from(before).date()
    }

    /// The first moment of the day, as SQL text.
    pub(crate) fn start(self) -> String {
        format!("{:04}-{:02}-{:02} 00:00:00+00", self.0.year(), u8::from(self.0.month()), self.0.day())
    }

    /// The first moment of the next day.
    pub(crate) fn end(self) -> Option<String> {
        self.0.next_day().map(|day| Self(day).start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_yesterday_to_three_days_ahead() {
        let now: Timestamp = "2026-12-31T23:59:59.999999Z".parse().unwrap();
        let days = Day::around(now);
        let names: Vec<_> = days.iter().map(|day| day.table()).collect();
        let expected = ["logs_20261230", "logs_20261231", "logs_20270101", "logs_20270102", "logs_20270103"];
        assert_eq!(names, expected);
        assert_eq!(days[1].start(), "2026-12-31 00:00:00+00");
        assert_eq!(days[1].end().unwrap(), "2027-01-01 00:00:00+00");
        assert_eq!(Day::around(Timestamp::from_micros(i64::MAX)).len(), 2);
    }

    #[test]
    fn a_day_is_known_by_its_table_and_ends() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let day = Day::of_table("logs_20261231").unwrap();
        assert_eq!(day.table(), "logs_20261231");
        assert!(!day.is_over(time("2026-12-31T23:59:59.999999Z")));
        assert!(day.is_over(time("2027-01-01T00:00:00Z")));
        for name in
            ["logs_default", "logs_20261301", "logs_2026123", "logs_2026١231", "chains", "logs_+0261231"]
        {
            assert_eq!(Day::of_table(name), None, "{name}");
        }
    }
}
