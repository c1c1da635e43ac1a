//! How often each answer was given.

use std::collections::BTreeMap;
use std::fmt;

use chassis_abi::{Answer, Row, Status, TABLE};

use crate::guest::is_imported;
use crate::world::Ended;

/// By function: how often each answer was given, the guest's end among them.
#[derive(Default)]
pub(crate) struct Histogram(BTreeMap<(usize, String), usize>);

impl Histogram {
    pub(crate) fn add(&mut self, row: &Row, ended: &Ended) {
        let place = TABLE.iter().position(|known| std::ptr::eq(*known, row)).unwrap();
        *self.0.entry((place, word(row, ended))).or_default() += 1;
    }

    /// How many calls were answered OK, and how many were made.
    pub(crate) fn ok(&self) -> (usize, usize) {
        let of = |wanted: Option<&str>| -> usize {
            let all = self.0.iter().filter(|((_, word), _)| wanted.is_none_or(|wanted| word == wanted));
            all.map(|(_, count)| count).sum()
        };
        (of(Some("ok")), of(None))
    }

    /// The statuses of rows that did not occur.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (place, row) in TABLE.iter().enumerate().filter(|(_, row)| is_imported(row)) {
            for status in row.statuses {
                if !self.0.contains_key(&(place, status.as_str().to_owned())) {
                    missing.push(format!("{} {}", row.name, status.as_str()));
                }
            }
            // A function that is never called would miss nothing otherwise.
            if !self.0.keys().any(|(known, _)| *known == place) {
                missing.push(row.name.to_owned());
            }
        }
        missing
    }
}

fn word(row: &Row, ended: &Ended) -> String {
    match (ended, row.answer) {
        (Ended::Stopped(_), _) => "stopped".to_owned(),
        (Ended::Answered(0), _) | (_, Answer::Number | Answer::None) => "ok".to_owned(),
        (Ended::Answered(status), Answer::Status) => {
            let known = row.statuses.iter().copied().chain([Status::InvalidMemoryAccess]);
            let found = known.into_iter().find(|known| *known as u32 == *status);
            found.map_or_else(|| status.to_string(), |status| status.as_str().to_owned())
        }
        (Ended::Answered(errno), Answer::Errno) => format!("errno {errno}"),
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, row) in TABLE.iter().enumerate().filter(|(_, row)| is_imported(row)) {
            let of_row = self.0.iter().filter(|((known, _), _)| *known == place);
            let answers: Vec<String> = of_row.map(|((_, word), count)| format!("{word} {count}")).collect();
            writeln!(f, "{}: {}", row.name, answers.join(", "))?;
        }
        let (ok, total) = self.ok();
        write!(f, "{total} combinations, {ok} of them OK ({} %)", ok * 100 / total.max(1))
    }
}
