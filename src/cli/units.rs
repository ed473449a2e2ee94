//! Values with a unit, as they are typed: sizes (`64MiB`) and times (`1m 30s`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| "a size is a number with a unit, such as 64MiB, 500kB or 4096".to_string();
        let size: ByteSize = text.parse().map_err(wrong)?;
        let bytes = usize::try_from(size.as_u64());
        bytes
            .map(Self)
            .map_err(|_| "more than this machine can address".into())
    }
}

/// In the largest unit that divides it, so that what is shown can be typed and means the same.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units
            .into_iter()
            .find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = humantime::parse_duration(text);
        parsed.map(Self).map_err(|error| {
            format!("a time is a number with a unit, such as 10s, 250ms or 1m 30s ({error})")
        })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A length of time, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOrNever(pub(super) Option<Duration>);

impl FromStr for TimeOrNever {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self(None)),
            text => Time::from_str(text).map(|time| Self(Some(time.0))),
        }
    }
}

impl fmt::Display for TimeOrNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("never"),
            Some(time) => Time(time).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed_and_means_the_same() {
        for bytes in [0, 1, 1000, 1024, 1025, 64 << 20, (64 << 20) + 1, 3 << 30] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        for millis in [0, 1, 250, 1000, 90_000, 86_400_001] {
            let time = Time(Duration::from_millis(millis));
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        for text in ["never", "10s"] {
            assert_eq!(
                text.parse().map(|time: TimeOrNever| time.to_string()),
                Ok(text.into())
            );
        }
    }

    #[test]
    fn binary_and_decimal_units_differ() {
        assert_eq!("1MiB".parse(), Ok(Size(1 << 20)));
        assert_eq!("1 MB".parse(), Ok(Size(1_000_000)));
        assert_eq!("4096".parse(), Ok(Size(4096)));
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in ["", "MiB", "-1", "1 parsec", "ten"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["", "10", "-1s", "soon"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
