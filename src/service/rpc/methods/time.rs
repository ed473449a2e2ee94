//! `time`: the server's clock, in Unix seconds and in RFC 3339 text.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::service::rpc::method::{Call, Method, Run};
use crate::service::rpc::response::RpcError;

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

pub(super) fn method() -> Method {
    let help = "the time as Unix seconds and as RFC 3339 text";
    Method::new("time", "none", help, Run::now(time)).in_datagrams()
}

#[derive(Serialize)]
struct Time {
    unix: f64,
    utc: String,
}

fn time(call: &Call<'_>) -> Result<Time, RpcError> {
    call.no_params()?;
    // A clock that was set to before 1970 is shown as 1970.
    let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Ok(Time {
        unix: unix.as_secs_f64(),
        utc: rfc3339(unix),
    })
}

/// `1970-01-01T00:00:00.000000Z`, this long after that moment.
fn rfc3339(unix: Duration) -> String {
    let (year, month, day) = date(unix.as_secs() / SECONDS_A_DAY);
    let second = unix.as_secs() % SECONDS_A_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = unix.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The Gregorian date `days` days after 1970-01-01.
///
/// Years are counted from March, so that a leap day is a year's last day, and from the year 0, so
/// that each span of 400 years is alike. In such a year months of 31, 30, 31, 30 and 31 days follow
/// each other: 153 days every five months.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_UNTIL_1970: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    const DAYS_IN_100_YEARS: u64 = 36_524;
    const DAYS_IN_4_YEARS: u64 = 1_461;

    let days = days + DAYS_UNTIL_1970;
    let (spans, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    // A span's last century, and a century's last leap period but that one's, are a day longer.
    let century = (day / DAYS_IN_100_YEARS).min(3);
    let day = day - century * DAYS_IN_100_YEARS;
    let (fours, day) = (day / DAYS_IN_4_YEARS, day % DAYS_IN_4_YEARS);
    let year = (day / 365).min(3);
    let day = day - year * 365;

    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5;
    let year = 400 * spans + 100 * century + 4 * fours + year;
    // Month 0 is March; the tenth and the eleventh after it lie in the next year.
    if month < 10 {
        (year, month + 3, day + 1)
    } else {
        (year + 1, month - 9, day + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64) -> String {
        rfc3339(Duration::from_secs(seconds))
    }

    #[test]
    fn known_moments() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            rfc3339(Duration::from_millis(1_500)),
            "1970-01-01T00:00:01.500000Z"
        );
        assert_eq!(text(951_782_399), "2000-02-28T23:59:59.000000Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(text(951_868_800), "2000-03-01T00:00:00.000000Z");
        assert_eq!(text(1_709_210_096), "2024-02-29T12:34:56.000000Z");
        assert_eq!(text(4_107_542_399), "2100-02-28T23:59:59.000000Z");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert_eq!(text(253_402_300_799), "9999-12-31T23:59:59.000000Z");
    }

    /// Counts every day of 800 years on from the first.
    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..2 * 146_097 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }
}
