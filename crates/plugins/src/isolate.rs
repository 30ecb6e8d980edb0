//! After a call failed for a list, each log is tried alone, so that only the culprit suffers.

use std::time::{Duration, Instant};

use crate::CallError;

/// Calls for each of `count` rows, one after the other, until `limit` is used up; the rest fail as not tried.
pub fn each_alone<T>(
    count: usize,
    limit: Duration,
    first: &CallError,
    mut call: impl FnMut(usize) -> Result<T, CallError>,
) -> Vec<Result<T, CallError>> {
    let started = Instant::now();
    let mut tried = |row| {
        if started.elapsed() > limit {
            return Err(CallError::NotTried { limit, first: first.to_string() });
        }
        call(row)
    };
    (0..count).map(&mut tried).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_culprit_fails() {
        let first = CallError::Trap("boom".to_owned());
        let results = each_alone(4, Duration::from_secs(5), &first, |row| {
            if row == 2 { Err(first.clone()) } else { Ok(row) }
        });
        assert_eq!(results, [Ok(0), Ok(1), Err(first), Ok(3)]);
    }

    #[test]
    fn the_time_for_all_of_them_is_limited() {
        let first = CallError::Trap("boom".to_owned());
        let limit = Duration::from_millis(20);
        let results = each_alone(100, limit, &first, |row| {
            std::thread::sleep(Duration::from_millis(10));
            Ok(row)
        });
        assert_eq!(results[0], Ok(0));
        assert!(matches!(results[99], Err(CallError::NotTried { .. })));
    }
}
