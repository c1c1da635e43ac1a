//! Other servers that plugins call, without sockets: each answer comes at its time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chassis_abi::{GrpcCall, HttpCall};
use chassis_host::{CalloutFailure, CalloutKey, CalloutWork, GrpcAnswer, GrpcEvent, GrpcStatus, HttpAnswer, Worker};

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
    what: What,
}

#[derive(Debug)]
enum What {
    Http(Result<HttpAnswer, CalloutFailure>),
    Call(Result<GrpcAnswer, GrpcStatus>),
    Stream(VecDeque<GrpcEvent>),
}

impl Outside {
    /// Does what the worker wants.
    pub(super) fn begin(&mut self, work: CalloutWork, worker: &mut Worker, upstream: &mut dyn Upstream, now: Instant) {
        match work {
            CalloutWork::Http { key, call, .. } => {
                self.lines.push(http_line(&call));
                let Scheduled { after, outcome } = upstream.http_call(&call);
                let (after, late) = within(call.timeout, after);
                let outcome = if late { Err(CalloutFailure::Timeout) } else { outcome };
                self.pending.push(Pending { due: now + after, key, what: What::Http(outcome) });
            }
            CalloutWork::Grpc { key, call, .. } => {
                self.lines.push(grpc_line(&call));
                let Scheduled { after, outcome } = upstream.grpc(&call);
                let (after, late) = within(call.timeout, after);
                let what = match call.message {
                    Some(_) if late => What::Call(Err(GrpcStatus::new(GrpcStatus::DEADLINE_EXCEEDED, "timeout"))),
                    Some(_) => What::Call(answer(outcome)),
                    None => What::Stream(outcome.into()),
                };
                self.pending.push(Pending { due: now + after, key, what });
            }
            CalloutWork::GrpcSend { key, message, end_of_stream } => {
                self.lines.push(match &message {
                    Some(message) => format!("grpc_send(\"{}\", {})", bytes(message), u8::from(end_of_stream)),
                    None => "grpc_close()".to_owned(),
                });
                if let Some(message) = message {
                    worker.grpc_sent(key, &message);
                }
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
        let Pending { key, what, .. } = self.pending.remove(at);
        match what {
            What::Http(outcome) => drop(worker.http_call_answered(key, outcome)),
            What::Call(outcome) => drop(worker.grpc_call_answered(key, outcome)),
            What::Stream(mut events) => {
                let Some(event) = events.pop_front() else { return };
                if !events.is_empty() {
                    self.pending.insert(at, Pending { due, key, what: What::Stream(events) });
                }
                worker.grpc_stream(key, event);
            }
        }
    }

    /// What the plugin had the host do since the last time.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

/// When an answer comes, and whether that is too late.
fn within(timeout: Option<Duration>, after: Duration) -> (Duration, bool) {
    match timeout {
        Some(timeout) if after > timeout => (timeout, true),
        _ => (after, false),
    }
}

/// The answer of a call, out of what would happen on a stream.
fn answer(events: Vec<GrpcEvent>) -> Result<GrpcAnswer, GrpcStatus> {
    let mut answer = GrpcAnswer::default();
    let mut message = None;
    for event in events {
        match event {
            GrpcEvent::Initial(initial) => answer.initial = initial,
            GrpcEvent::Trailing(trailing) => answer.trailing = trailing,
            GrpcEvent::Closed(status) if status.code != GrpcStatus::OK => return Err(status),
            GrpcEvent::Closed(_) => {}
            GrpcEvent::Message(other) => drop(message.get_or_insert(other)),
        }
    }
    match message {
        Some(message) => Ok(GrpcAnswer { message, ..answer }),
        None => Err(GrpcStatus::new(GrpcStatus::INTERNAL, "no message")),
    }
}

/// As a host call with what the host made of its arguments.
fn http_line(call: &HttpCall) -> String {
    let timeout = call.timeout.map_or(0, |timeout| timeout.as_millis());
    let (headers, trailers) = (fields(&call.headers), fields(&call.trailers));
    format!("http_call(\"{}\", [{headers}], \"{}\", [{trailers}], {timeout})", call.upstream, bytes(&call.body))
}

fn grpc_line(call: &GrpcCall) -> String {
    let GrpcCall { upstream, service, method, .. } = call;
    let what = format!("\"{upstream}\", \"{service}\", \"{method}\", [{}]", fields(&call.metadata));
    match &call.message {
        Some(message) => {
            let timeout = call.timeout.map_or(0, |timeout| timeout.as_millis());
            format!("grpc_call({what}, \"{}\", {timeout})", bytes(message))
        }
        None => format!("grpc_stream({what})"),
    }
}
