//! Other servers that plugins call, without sockets: each answer comes at its time.

use std::time::{Duration, Instant};

use chassis_abi::HttpCall;
use chassis_host::{CalloutFailure, CalloutKey, CalloutWork, HttpAnswer, Worker};

use super::driver::{Scheduled, Upstream};
use super::text::{bytes, fields};

/// What is under way, and what the plugin had the host do.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pending: Vec<Pending>,
    lines: Vec<String>,
}

#[derive(Debug)]
struct Pending {
    due: Instant,
    key: CalloutKey,
    outcome: Result<HttpAnswer, CalloutFailure>,
}

impl Outside {
    /// Does what the worker wants.
    pub(super) fn begin(&mut self, work: CalloutWork, upstream: &mut dyn Upstream, now: Instant) {
        match work {
            CalloutWork::Http { key, call, .. } => {
                self.lines.push(line(&call));
                let Scheduled { after, outcome } = upstream.http_call(&call);
                let timeout = call.timeout.unwrap_or(Duration::MAX);
                let (after, outcome) =
                    if after > timeout { (timeout, Err(CalloutFailure::Timeout)) } else { (after, outcome) };
                self.pending.push(Pending { due: now + after, key, outcome });
            }
            CalloutWork::Cancel { key } => {
                self.lines.push("cancel".to_owned());
                self.pending.retain(|pending| pending.key != key);
            }
            _ => {}
        }
    }

    /// When the next answer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.due).min()
    }

    /// Gives the answer that is due first; of several the one that was asked for first.
    pub(super) fn answer(&mut self, worker: &mut Worker) {
        let Some(due) = self.next() else { return };
        let Some(at) = self.pending.iter().position(|pending| pending.due == due) else { return };
        let Pending { key, outcome, .. } = self.pending.remove(at);
        worker.http_call_answered(key, outcome);
    }

    /// What the plugin had the host do since the last time.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

/// As a host call with what the host made of its arguments.
fn line(call: &HttpCall) -> String {
    let timeout = call.timeout.map_or(0, |timeout| timeout.as_millis());
    let (headers, trailers) = (fields(&call.headers), fields(&call.trailers));
    format!("http_call(\"{}\", [{headers}], \"{}\", [{trailers}], {timeout})", call.upstream, bytes(&call.body))
}
