//! Judging requests on the bytes of the accepted socket, before hyper sees them.
//!
//! [`Judge`] follows a connection's bytes without I/O: head by head, and through bodies to where the next head begins.
//! [`Gate`] wraps the socket: hyper reads through it and gets only heads that are complete and were not refused. What
//! hyper itself refuses (bad tokens, control bytes, whitespace before the colon) is left to hyper.
//!
//! A client that begins with the preface of HTTP/2 is let go: its bytes go through a [`FrameGate`], and its requests are
//! judged by [`judge_fields`], as there is no text that two readers could read differently.

mod chunked;
mod fields;
mod frame_gate;
mod frames;
mod gate;
mod http2;
mod judge;
mod refusal;

pub use frame_gate::{FrameGate, Watch};
pub use frames::{Flood, Frames};
pub use gate::{Client, ClientLimits, ClientTls, Exchange, Gate};
pub use http2::judge_fields;
pub use judge::{HeadLimits, Judge, Verdict};
pub use refusal::Refusal;
