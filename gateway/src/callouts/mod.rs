//! Callouts of plugins, made with the connections of the worker's own pool.
//!
//! A plugin names an upstream that has an id, or an address that its configuration allows; whether it may was decided
//! when it asked. Framing, hop-by-hop fields and the connection are the gateway's.

mod grpc;
mod http;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use chassis_host::{CalloutFailure, CalloutKey, CalloutWork, Worker};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, spawn_local};

use crate::chain::Guests;
use crate::config::{Config, NodeAddress, UpstreamConfig};
use crate::upstream::{Pool, Upstream};

/// What a worker's callouts are made with, and those that are under way.
#[derive(Debug)]
pub(crate) struct Callouts {
    /// By the names that plugins use.
    upstreams: RefCell<HashMap<String, Rc<Upstream>>>,
    running: RefCell<HashMap<CalloutKey, Running>>,
    room: Rc<Room>,
}

/// A callout that is under way. Dropped, it goes on.
#[derive(Debug)]
struct Running {
    task: AbortHandle,
    /// Where a gRPC stream gets what it sends. What may wait there is limited before it comes here.
    outbox: Option<UnboundedSender<grpc::Outgoing>>,
}

impl Callouts {
    /// Callouts to what a configuration names and allows. All answers that are being read may have `limit` bytes together.
    pub(crate) fn new(config: &Config, pool: &Pool, limit: usize) -> Self {
        let room = Rc::new(Room { used: Cell::new(0), limit: Cell::new(limit) });
        let callouts = Callouts { upstreams: RefCell::default(), running: RefCell::default(), room };
        callouts.replace(config, pool, limit);
        callouts
    }

    /// Callouts that begin from now on go to what this configuration names and allows; those under way go on.
    pub(crate) fn replace(&self, config: &Config, pool: &Pool, limit: usize) {
        let mut upstreams = HashMap::new();
        for address in config.plugins.iter().flat_map(|plugin| &plugin.allowed_upstreams) {
            let single = UpstreamConfig::single(NodeAddress::Tcp(address.clone()));
            upstreams.insert(address.clone(), Rc::new(Upstream::new(&single, pool)));
        }
        for named in &config.upstreams {
            upstreams.insert(named.id.clone(), Rc::new(Upstream::new(&named.upstream, pool)));
        }
        self.upstreams.replace(upstreams);
        self.room.limit.set(limit);
    }

    /// Does what the worker wants to be done; what comes of it is told to `guests`, later.
    pub(crate) fn begin(&self, guests: &Rc<Guests>, work: CalloutWork) {
        match work {
            CalloutWork::Http { key, call, limit } => {
                let upstream = self.upstreams.borrow().get(&call.upstream).cloned();
                let share = Share { room: Rc::clone(&self.room), bytes: 0, limit };
                let ending = Ending { guests: Rc::clone(guests), key };
                let task = spawn_local(async move {
                    let name = call.upstream.clone();
                    let outcome = match upstream {
                        Some(upstream) => http::answer(&upstream, *call, share).await,
                        None => Err(CalloutFailure::Connect),
                    };
                    if let Err(failure) = &outcome {
                        tracing::info!(upstream = name, "a callout failed: {failure}");
                    }
                    ending.tell(|worker| worker.http_call_answered(key, outcome));
                });
                self.running.borrow_mut().insert(key, Running { task: task.abort_handle(), outbox: None });
            }
            CalloutWork::Grpc { key, call, limit } => {
                let upstream = self.upstreams.borrow().get(&call.upstream).cloned();
                // What a message may have is judged by itself.
                let share = Share { room: Rc::clone(&self.room), bytes: 0, limit: usize::MAX };
                let ending = Ending { guests: Rc::clone(guests), key };
                let running = match call.message {
                    Some(_) => {
                        let task = spawn_local(grpc::call(upstream, *call, limit, share, ending));
                        Running { task: task.abort_handle(), outbox: None }
                    }
                    None => {
                        let (outbox, outgoing) = unbounded_channel();
                        let task = spawn_local(grpc::stream(upstream, *call, limit, share, outgoing, ending));
                        Running { task: task.abort_handle(), outbox: Some(outbox) }
                    }
                };
                self.running.borrow_mut().insert(key, running);
            }
            CalloutWork::GrpcSend { key, message, end_of_stream } => {
                let running = self.running.borrow();
                if let Some(outbox) = running.get(&key).and_then(|running| running.outbox.as_ref()) {
                    // A stream that has ended needs none.
                    let _ = outbox.send(grpc::Outgoing { message, end_of_stream });
                }
            }
            CalloutWork::Cancel { key } => {
                if let Some(running) = self.running.borrow_mut().remove(&key) {
                    running.task.abort();
                }
            }
            _ => {}
        }
    }
}

/// Whom a callout that is under way tells what comes of it.
struct Ending {
    guests: Rc<Guests>,
    key: CalloutKey,
}

impl Ending {
    /// Tells its end.
    fn tell(self, tell: impl FnOnce(&mut Worker) -> bool) {
        self.guests.callouts().running.borrow_mut().remove(&self.key);
        self.guests.with(tell);
    }
}

/// How many bytes of answers may be held that are being read.
#[derive(Debug)]
struct Room {
    used: Cell<usize>,
    limit: Cell<usize>,
}

/// What one answer has of it.
#[derive(Debug)]
struct Share {
    room: Rc<Room>,
    bytes: usize,
    limit: usize,
}

impl Share {
    /// Takes so many bytes more; `false` if there is no room for them.
    fn take(&mut self, bytes: usize) -> bool {
        let used = self.room.used.get().saturating_add(bytes);
        if self.bytes.saturating_add(bytes) > self.limit || used > self.room.limit.get() {
            return false;
        }
        self.room.used.set(used);
        self.bytes += bytes;
        true
    }

    /// Has so many bytes from now on, more or fewer; `false` if there is no room for them.
    fn hold(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            return self.take(more);
        }
        self.room.used.set(self.room.used.get() - (self.bytes - bytes));
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.used.set(self.room.used.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_limited_each_and_together_and_given_back() {
        let room = Rc::new(Room { used: Cell::new(0), limit: Cell::new(10) });
        let share = || Share { room: Rc::clone(&room), bytes: 0, limit: 6 };
        let (mut a, mut b) = (share(), share());
        assert!(a.take(4) && !a.take(3) && a.take(2));
        assert!(a.hold(1) && room.used.get() == 1 && !a.hold(7) && a.hold(6));
        assert!(!b.take(5) && b.take(4));
        drop(a);
        assert!(b.take(2) && !b.take(1));
        drop(b);
        assert_eq!(room.used.get(), 0);
    }
}
