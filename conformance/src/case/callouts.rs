//! The servers of a case: its upstream, and those that its guest calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{CalloutRules, GrpcCall, HeaderList, HttpCall};
use chassis_host::{CalloutFailure, GrpcEvent, GrpcStatus, HttpAnswer};

use super::file::{CalloutAnswer, CaseFile, GrpcReply};
use super::values::Fields;
use super::yaml::Mistake;
use super::{add, filled};
use crate::drive::{Message, Scheduled, Scripted, Upstream, UpstreamFailure};

/// The upstream, and other servers by their names.
#[derive(Debug, Clone)]
pub(crate) struct Others {
    upstream: Scripted,
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Clone)]
struct Server {
    answers: Vec<Answer>,
    asked: usize,
}

#[derive(Debug, Clone)]
struct Answer {
    http: Scheduled,
    grpc: Scheduled<Vec<GrpcEvent>>,
}

impl Others {
    pub(super) fn new(upstream: Scripted, callouts: &BTreeMap<String, Vec<CalloutAnswer>>) -> Result<Self, Mistake> {
        let mut servers = BTreeMap::new();
        for (name, answers) in callouts {
            let answers = answers.iter().map(|given| answer(name, given)).collect::<Result<_, _>>()?;
            servers.insert(name.clone(), Server { answers, asked: 0 });
        }
        Ok(Others { upstream, servers })
    }
}

impl Upstream for Others {
    fn answer(&mut self, request: &Message) -> Result<Message, UpstreamFailure> {
        self.upstream.answer(request)
    }

    fn http_call(&mut self, call: &HttpCall) -> Scheduled {
        let unavailable = Scheduled { after: Duration::ZERO, outcome: Err(CalloutFailure::Connect) };
        self.next(&call.upstream).map_or(unavailable, |answer| answer.http)
    }

    fn grpc(&mut self, call: &GrpcCall) -> Scheduled<Vec<GrpcEvent>> {
        self.next(&call.upstream).map_or_else(Scheduled::unavailable, |answer| answer.grpc)
    }
}

impl Others {
    /// What a server answers to the next call.
    fn next(&mut self, upstream: &str) -> Option<Answer> {
        let server = self.servers.get_mut(upstream)?;
        let at = server.asked.min(server.answers.len().checked_sub(1)?);
        server.asked += 1;
        server.answers.get(at).cloned()
    }
}

/// Whom the guest may call, and how much of it.
pub(super) fn rules(file: &CaseFile) -> CalloutRules {
    let (limits, defaults) = (&file.limits, CalloutRules::default());
    CalloutRules {
        upstreams: Arc::new(file.callouts.keys().cloned().collect()),
        per_stream: limits.callouts_per_stream.unwrap_or(defaults.per_stream),
        per_vm: limits.callouts.unwrap_or(defaults.per_vm),
        bytes: limits.callout_bytes.map_or(defaults.bytes, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
    }
}

fn answer(name: &str, answer: &CalloutAnswer) -> Result<Answer, Mistake> {
    let after = answer.after.map_or(Duration::ZERO, |after| after.0);
    let grpc = match &answer.grpc {
        Some(reply) => Scheduled { after, outcome: events(&format!("callouts.{name}.grpc"), reply)? },
        None => Scheduled { after, ..Scheduled::unavailable() },
    };
    Ok(Answer { http: http(name, answer, after)?, grpc })
}

/// What happens on a stream, of which a call has its answer.
fn events(what: &str, reply: &GrpcReply) -> Result<Vec<GrpcEvent>, Mistake> {
    let list = |fields: &Option<Fields>| {
        let mut list = HeaderList::default();
        fields.as_ref().map(|fields| add(&mut list, fields, what).map(|()| list)).transpose()
    };
    let initial = list(&reply.metadata)?.map(GrpcEvent::Initial);
    let messages = reply.messages.iter().map(|message| GrpcEvent::Message(Bytes::from(message.bytes())));
    let trailing = list(&reply.trailers)?.map(GrpcEvent::Trailing);
    let closed = GrpcEvent::Closed(GrpcStatus::new(reply.status, reply.message.clone()));
    let end = trailing.into_iter().chain([closed]).filter(|_| !reply.stays_open);
    Ok(initial.into_iter().chain(messages).chain(end).collect())
}

fn http(name: &str, answer: &CalloutAnswer, after: Duration) -> Result<Scheduled, Mistake> {
    if let Some(failure) = answer.fails {
        return Ok(Scheduled { after, outcome: Err(failure.into()) });
    }
    let pseudo = [(":status", answer.status.to_string())].into_iter().collect();
    let (body, trailers) = (answer.body.as_ref(), answer.trailers.as_ref());
    let Message { headers, body, trailers } =
        filled(pseudo, &format!("callouts.{name}"), &answer.headers, body, trailers)?;
    let body = body.unwrap_or_else(Bytes::new);
    Ok(Scheduled { after, outcome: Ok(HttpAnswer { headers, body, trailers: trailers.unwrap_or_default() }) })
}
