//! What is logged: the error log, in which plugins and the gateway speak, and the access log, a line per request.
//!
//! Both are written by threads of their own, so that neither a full disk nor a slow file holds up a request: lines for
//! which there is no room are dropped, counted and told of.

mod access;
mod format;
mod guests;
mod nginx;
mod record;
pub(crate) mod spans;
mod time;
mod trace_context;
mod variables;
mod writer;

pub use format::{AccessFormat, Escape};
pub use guests::GuestLines;
pub use nginx::NginxLines;
pub use trace_context::TraceContext;
pub use writer::{LogTarget, LogWriter};

pub(crate) use access::AccessLog;
pub(crate) use guests::REQUEST_LINE;
pub(crate) use record::{Record, request_event};
