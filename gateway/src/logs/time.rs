//! The time of day, written once a second and thread.

use std::cell::RefCell;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One moment in all the forms in which logs have it. The zone is the system's.
#[derive(Debug, Default)]
pub(crate) struct Written {
    second: Option<i64>,
    /// `2024/05/13 08:08:52`
    pub(crate) error_log: String,
    /// `13/May/2024:08:08:52 +0000`
    pub(crate) common: String,
    /// `2024-05-13T08:08:52+00:00`
    pub(crate) iso: String,
}

thread_local! {
    static WRITTEN: RefCell<Written> = RefCell::default();
}

/// Gives `read` the present second.
pub(crate) fn now<R>(read: impl FnOnce(&Written) -> R) -> R {
    let second = since_epoch().as_secs();
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    WRITTEN.with_borrow_mut(|written| {
        if written.second != Some(second) {
            written.write(second);
        }
        read(written)
    })
}

/// Appends seconds since 1970 with milliseconds.
pub(crate) fn push_epoch(out: &mut Vec<u8>) {
    let since = since_epoch();
    // Writing to memory cannot fail.
    let _ = write!(out, "{}.{:03}", since.as_secs(), since.subsec_millis());
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Written {
    fn write(&mut self, second: i64) {
        let at = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
        self.second = Some(second);
        self.error_log = at.strftime("%Y/%m/%d %H:%M:%S").to_string();
        self.common = at.strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
        self.iso = at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_of_one_moment() {
        let mut written = Written::default();
        written.write(1_715_587_732);
        let (day, rest) = written.error_log.split_once(' ').unwrap();
        assert!(day.starts_with("2024/05/1") && rest.len() == 8, "{day} {rest}");
        assert!(written.common.contains("/May/2024:") && written.common.contains(rest), "{}", written.common);
        assert!(written.iso.starts_with(&day.replace('/', "-")) && written.iso.contains(rest), "{}", written.iso);
        assert_eq!(written.iso.len(), 25);
        assert_eq!(written.common.len(), 26);
    }
}
