//! What each engine costs, measured the same way on all of them: the measurements as data, the guests that they run, the
//! measuring, and the report with its page.
//!
//! Every measurement runs through `chassis-abi` and `chassis-host` on each engine that was compiled in; where that means
//! something, also by hand against the engine's own interface, and with a guest in Rust on the native engine, which is
//! what the host itself costs. `chassis bench engines` prints the result.
//!
//! This crate judges nothing: it has no limits and no tests of speed, and it opens no socket.
//!
//! Its benches:
//! - `cargo bench -p chassis-benches --bench engines`: the same measurements with Criterion.
//! - `cargo bench -p chassis-benches --bench trait_cost`: each engine through the traits, and by hand.
//! - `cargo bench -p chassis-benches --bench head_judge`: what it costs to judge request heads before hyper reads them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod by_hand;
mod catalogue;
mod compute;
mod guests;
mod host_calls;
mod html;
mod life;
mod machine;
mod native;
mod report;
mod run;
mod stats;
mod subject;
mod vm;
mod work;

pub use catalogue::{Group, Measurement, measurements};
pub use html::page;
pub use machine::Machine;
pub use report::{Cell, EngineInfo, Report, Row, SCHEMA, SettingsInfo, time_text};
pub use run::{Progress, Settings, measure};
pub use stats::Summary;
pub use subject::{Subject, Via, subjects};
pub use work::{Prepared, Unable, prepare};
