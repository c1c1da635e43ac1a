//! Conformance of engines and host: cases as data, and what runs them.
//!
//! A case ([`Case`]) is a YAML file: a guest, what is done to it, and what must be seen. It is driven ([`drive`]) without
//! sockets, and time and random numbers are the same on each engine, so that what engines do can be compared too.
//!
//! This crate never opens a socket, prints, or skips a case without a reason.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod drive;

mod case;
mod coverage;
mod deviations;
mod judge;
mod report;
mod runner;
mod schema;
mod suite;
mod trace;

pub use case::{Case, CaseFile, Mistake, Need, unescape};
pub use coverage::{Coverage, coverage};
pub use judge::Difference;
pub use report::{Report, SCHEMA, Summary, junit, report};
pub use runner::{CaseResult, Differs, Ran, Verdict, choose, compare, run, run_all, trial_name};
pub use schema::schema;
pub use suite::{Suite, SuiteError};
pub use trace::named;
