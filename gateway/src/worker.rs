//! One worker: a thread with its own runtime, listening sockets, upstream connections and VMs.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use chassis_host::Preparer;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};

use crate::head::{Client, Gate};
use crate::listen::BACKLOG;
use crate::proxy::{Proxy, Snapshot};
use crate::server::{ServeError, Settings};
use crate::upstream::Pool;

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accept and serve.
    Serve,
    /// Accept nothing that is not waiting already, end what is running.
    Drain,
    /// Leave everything.
    Stop,
}

/// What all tasks of a worker share.
struct Shared {
    settings: Settings,
    proxy: Proxy,
    http: http1::Builder,
    draining: Cell<bool>,
    drain: Notify,
    connections: Cell<usize>,
    ended: Notify,
}

/// Serves until the phase is `Stop`, or `Drain` and nothing is left. `listeners` is called when all plugins have started,
/// and may block; `None` ends the worker. `ready` is called when it serves.
pub(crate) fn run(
    settings: &Settings,
    preparer: Option<Preparer>,
    mut phase: watch::Receiver<Phase>,
    listeners: impl FnOnce() -> Option<Vec<StdListener>>,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let pool = Pool::new(settings.pool);
    let routes = &settings.config.routes;
    let (guests, chains) = match (&settings.plugins, preparer) {
        (Some(plugins), Some(preparer)) => {
            let (guests, chains) = plugins.start(routes, preparer)?;
            (Some(guests), chains)
        }
        _ => (None, routes.iter().map(|_| None).collect()),
    };
    let mut http = http1::Builder::new();
    // The gate limits heads and the time that they take; see `head`.
    http.header_read_timeout(None).max_buf_size(settings.head.bytes.max(8 << 10) * 2);
    if settings.head.lines > HYPER_LINES {
        http.max_headers(settings.head.lines);
    }
    let shared = Rc::new(Shared {
        proxy: Proxy::new(Snapshot::new(&settings.config, &pool, chains)),
        settings: settings.clone(),
        http,
        draining: Cell::new(false),
        drain: Notify::new(),
        connections: Cell::new(0),
        ended: Notify::new(),
    });
    let Some(listeners) = listeners() else { return Ok(()) };
    let ended = local.block_on(&runtime, async {
        let mut accepting = Vec::new();
        for listener in listeners {
            accepting.push(spawn_local(accept(TcpListener::from_std(listener)?, Rc::clone(&shared), phase.clone())));
        }
        if let Some(guests) = &guests {
            spawn_local(Rc::clone(guests).keep());
        }
        let sweep_every = settings.pool.age / 4;
        spawn_local(async move {
            loop {
                tokio::time::sleep(sweep_every).await;
                pool.sweep();
            }
        });
        ready();
        // A sender that is gone means the same as Stop.
        let _ = phase.wait_for(|phase| *phase != Phase::Serve).await;
        for task in accepting {
            let _ = task.await;
        }
        shared.draining.set(true);
        shared.drain.notify_waiters();
        let mut stop = pin!(phase.wait_for(|phase| *phase == Phase::Stop));
        while shared.connections.get() > 0 {
            tokio::select! {
                () = shared.ended.notified() => {}
                _ = &mut stop => break,
            }
        }
        // What plugins log of their last streams is theirs, too.
        if let Some(guests) = guests {
            guests.close_ended(usize::MAX);
        }
        Ok(())
    });
    // Names of upstreams that are still being looked up, on threads of their own, are not waited for.
    drop(local);
    runtime.shutdown_background();
    ended
}

/// Accepts until draining begins, and then what is waiting already, which is at most what the backlog holds: clients that
/// keep coming, or no descriptors, must not keep it from ending.
async fn accept(listener: TcpListener, shared: Rc<Shared>, mut phase: watch::Receiver<Phase>) {
    let mut pause = FIRST_PAUSE;
    let mut waiting = BACKLOG;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serve) => return,
        };
        let now = *phase.borrow();
        match now {
            Phase::Serve => {}
            Phase::Drain if waiting > 0 && accepted.as_ref().err().is_none_or(is_of_the_client) => waiting -= 1,
            Phase::Drain | Phase::Stop => return,
        }
        match accepted {
            Ok((stream, client)) => {
                pause = FIRST_PAUSE;
                shared.connections.set(shared.connections.get() + 1);
                spawn_local(serve(stream, client, Live(Rc::clone(&shared))));
            }
            // The client went away before it was accepted.
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!("cannot accept, next try in {pause:?}: {error}");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = phase.wait_for(|phase| *phase != Phase::Serve) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// How many header lines hyper reads without an allocation for them, and takes unless told otherwise.
const HYPER_LINES: usize = 100;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// A connection that is open.
struct Live(Rc<Shared>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.ended.notify_one();
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, live: Live) {
    let shared = &*live.0;
    // Only a matter of speed.
    let _ = stream.set_nodelay(true);
    let client = Client::new(address);
    let gate = Gate::new(stream, shared.settings.head, shared.settings.client, Rc::clone(&client));
    let service = service_fn(|request| {
        let exchange = client.begin();
        async move {
            let mut response = shared.proxy.handle(request, exchange).await;
            if let Ok(response) = &mut response
                && shared.draining.get()
            {
                let close = http::HeaderValue::from_static("close");
                let _ = response.headers_mut().try_insert(http::header::CONNECTION, close);
            }
            response
        }
    });
    let mut connection = pin!(shared.http.serve_connection(TokioIo::new(gate), service));
    let mut drained = pin!(shared.drain.notified());
    drained.as_mut().enable();
    if !shared.draining.get() {
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = drained => None,
        };
        if let Some(ended) = ended {
            return log_end(address, ended);
        }
    }
    if client.requests() == 0 {
        // Its first request may be on its way.
        if let Ok(ended) = tokio::time::timeout(FIRST_REQUEST, &mut connection).await {
            return log_end(address, ended);
        }
    }
    connection.as_mut().graceful_shutdown();
    log_end(address, connection.await);
}

/// How long a new connection may be silent once draining has begun.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

fn log_end(client: SocketAddr, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%client, "connection ended: {}", crate::upstream::error::chain(&error));
    }
}
