//! Judging requests on the bytes of the accepted socket, before hyper sees them.
//!
//! [`Judge`] follows a connection's bytes without I/O: head by head, and through bodies to where the next head begins.
//! [`Gate`] wraps the socket: hyper reads through it and gets only heads that are complete and were not refused. What
//! hyper itself refuses (bad tokens, control bytes, whitespace before the colon) is left to hyper.

mod chunked;
mod fields;
mod gate;
mod judge;
mod refusal;

pub use gate::{Client, ClientLimits, Exchange, Gate};
pub use judge::{HeadLimits, Judge, Verdict};
pub use refusal::Refusal;
