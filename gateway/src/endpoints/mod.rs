//! What operators ask and tell a gateway: metrics, the control API and the Admin API, on a thread of their own.
//!
//! They are served with hyper and a `match`: there are few paths, and no worker is held up by any of them.

mod http;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use self::http::Endpoint;
use crate::control::{Control, State};
use crate::metrics::{self, Metrics};
use crate::server::ServeError;
use crate::worker::Phase;

pub(crate) use self::http::{Asked, Handler, json, text};

/// The thread that serves them.
#[derive(Debug)]
pub(crate) struct Endpoints {
    addresses: EndpointAddresses,
    thread: Option<JoinHandle<()>>,
}

/// Where endpoints listen; ports are the real ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointAddresses {
    /// Metrics.
    pub metrics: Option<SocketAddr>,
    /// The control API.
    pub control: Option<SocketAddr>,
}

impl EndpointAddresses {
    pub(crate) fn log(&self) {
        for (what, address) in [("metrics", self.metrics), ("control API", self.control)] {
            if let Some(address) = address {
                tracing::info!("{what} on http://{address}");
            }
        }
    }
}

impl Endpoints {
    /// Binds those that the configuration asks for, and serves them until the phase is `Stop`.
    pub(crate) fn start(
        state: &Arc<State>,
        metrics: &Metrics,
        mut phase: watch::Receiver<Phase>,
    ) -> Result<Self, ServeError> {
        let config = state.config();
        let mut addresses = EndpointAddresses::default();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        if let Some(address) = config.endpoints.metrics {
            let endpoint = bind(address, Arc::new(metrics::Scrape::new(metrics.clone())))?;
            addresses.metrics = Some(endpoint.address);
            endpoints.push(endpoint);
        }
        if let Some(address) = config.endpoints.control {
            let endpoint = bind(address, Arc::new(Control::new(Arc::clone(state))))?;
            addresses.control = Some(endpoint.address);
            endpoints.push(endpoint);
        }
        if endpoints.is_empty() {
            return Ok(Endpoints { addresses, thread: None });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let serve = move || {
            runtime.block_on(async {
                for endpoint in endpoints {
                    tokio::spawn(http::serve(endpoint));
                }
                // A sender that is gone means the same.
                let _ = phase.wait_for(|phase| *phase == Phase::Stop).await;
            });
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("chassis-endpoints".to_owned()).spawn(serve)?;
        Ok(Endpoints { addresses, thread: Some(thread) })
    }

    pub(crate) fn addresses(&self) -> EndpointAddresses {
        self.addresses
    }

    /// Waits for the thread, once the phase is `Stop`.
    pub(crate) fn join(&mut self) {
        // A panic was reported by the thread itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn bind(address: SocketAddr, handler: Arc<dyn Handler>) -> Result<Endpoint, ServeError> {
    let bound = || -> io::Result<Endpoint> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Endpoint { address: listener.local_addr()?, listener, handler })
    };
    bound().map_err(|source| ServeError::Listen { address, source })
}
