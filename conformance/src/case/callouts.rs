//! The servers of a case: its upstream, and those that its guest calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{CalloutRules, HttpCall};
use chassis_host::{CalloutFailure, HttpAnswer};

use super::file::{CalloutAnswer, CaseFile};
use super::filled;
use super::yaml::Mistake;
use crate::drive::{Message, Scheduled, Scripted, Upstream, UpstreamFailure};

/// The upstream, and other servers by their names.
#[derive(Debug, Clone)]
pub(crate) struct Others {
    upstream: Scripted,
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Clone)]
struct Server {
    answers: Vec<Scheduled>,
    asked: usize,
}

impl Others {
    pub(super) fn new(upstream: Scripted, callouts: &BTreeMap<String, Vec<CalloutAnswer>>) -> Result<Self, Mistake> {
        let mut servers = BTreeMap::new();
        for (name, answers) in callouts {
            let answers = answers.iter().map(|answer| scheduled(name, answer)).collect::<Result<_, _>>()?;
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
        let next = self.servers.get_mut(&call.upstream).and_then(|server| {
            let at = server.asked.min(server.answers.len().checked_sub(1)?);
            server.asked += 1;
            server.answers.get(at).cloned()
        });
        next.unwrap_or(Scheduled { after: Duration::ZERO, outcome: Err(CalloutFailure::Connect) })
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

fn scheduled(name: &str, answer: &CalloutAnswer) -> Result<Scheduled, Mistake> {
    let after = answer.after.map_or(Duration::ZERO, |after| after.0);
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
