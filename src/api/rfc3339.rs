//! Times as the contract spells them: RFC 3339, UTC, milliseconds.

use time::OffsetDateTime;

use crate::bond::UnixMillis;

/// `2026-11-21T08:30:00.125Z`. A time past the year 9999, which only a broken clock gives, is
/// written as the last that can be.
pub fn rfc3339(at: UnixMillis) -> String {
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(LAST).min(LAST);
    let at_second = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at_second.year(),
        u8::from(at_second.month()),
        at_second.day(),
        at_second.hour(),
        at_second.minute(),
        at_second.second(),
        at.0 % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_007, "2000-02-29T12:34:56.007Z"),
            (1_795_249_800_125, "2026-11-21T08:30:00.125Z"),
            (u64::MAX, "9999-12-31T23:59:59.615Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(rfc3339(UnixMillis(millis)), text);
        }
    }
}
