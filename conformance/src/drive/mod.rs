//! Driving requests through a plugin without sockets and without waiting, and what is seen on the way.

mod compare;
mod driver;
mod plan;
mod record;
mod run;
mod services;
mod upstream;

pub use compare::{Disagreement, difference};
pub use driver::{Ask, Cut, Error, LOAD, Message, Outcome, Settings, Trip, Upstream, UpstreamFailure};
pub use plan::{Plan, run};
pub use record::{Call, Entry, Line, Step, Stopped};
pub use run::{Report, Run, SCHEMA, outcome, value_text};
pub use services::Origin;
pub use upstream::Scripted;
