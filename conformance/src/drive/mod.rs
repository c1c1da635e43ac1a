//! Driving requests through a plugin without sockets and without waiting, and what is seen on the way.

mod callouts;
mod compare;
mod driver;
mod plan;
mod record;
mod run;
mod services;
mod sharing;
mod tcp;
mod text;
mod upstream;

pub use compare::{Disagreement, difference};
pub use driver::{Ask, Cut, Error, LOAD, Message, Outcome, Scheduled, Settings, Trip, Upstream, UpstreamFailure};
pub use plan::{Plan, run};
pub use record::{Call, Entry, Line, Step, Stopped};
pub use run::{Report, Run, SCHEMA, outcome, value_text};
pub use services::Origin;
pub use sharing::{Beside, Function, Sharing};
pub use tcp::{TcpEvent, Wire};
pub use upstream::Scripted;
