//! Asking nodes whether they serve.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body::{Body, Frame};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use super::{Health, Sign};
use crate::config::{ActiveCheck, CheckKind, NodeAddress};

/// The thread from which nodes are asked. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Prober(UnboundedSender<Weak<Health>>);

impl Prober {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, mut receiver) = unbounded_channel::<Weak<Health>>();
        thread::Builder::new().name("chassis-health".to_owned()).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                while let Some(health) = receiver.recv().await {
                    let nodes = health.upgrade().map_or(0, |health| health.nodes.len());
                    for node in 0..nodes {
                        spawn_local(watch(Weak::clone(&health), node));
                    }
                }
            });
            drop(local);
            // Names that are still being looked up are not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Prober(sender))
    }

    /// Asks the nodes of an upstream from now on, until nothing has its health any more.
    pub(super) fn ask(&self, health: &Arc<Health>) {
        // The thread ends after this only.
        let _ = self.0.send(Arc::downgrade(health));
    }
}

async fn watch(health: Weak<Health>, node: usize) {
    loop {
        let Some(health) = health.upgrade() else { return };
        let NodeAddress::Tcp(address) = &health.nodes[node].address else { return };
        let check = &health.checks.active;
        let sign = {
            // The semaphore is never closed.
            let _one_of_few = health.asking.acquire().await;
            match tokio::time::timeout(check.timeout, probe(check, address)).await {
                Ok(Ok(None)) => Some(Sign::Success),
                Ok(Ok(Some(status))) => check.thresholds.sign(status.as_u16()),
                Ok(Err(error)) => {
                    tracing::debug!(upstream = health.name, node = address, "health check: {error}");
                    Some(Sign::TcpFailure)
                }
                Err(_) => Some(Sign::Timeout),
            }
        };
        if let Some(sign) = sign {
            health.count(node, sign, &check.thresholds);
        }
        let pause = if health.serves(node) { check.healthy_interval } else { check.unhealthy_interval };
        drop(health);
        tokio::time::sleep(pause).await;
    }
}

/// The status that a node answers with; none where it is asked for a connection only.
async fn probe(check: &ActiveCheck, address: &str) -> Result<Option<StatusCode>, io::Error> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let stream = match check.port {
        Some(port) => TcpStream::connect(format!("{host}:{port}")).await?,
        None => TcpStream::connect(address).await?,
    };
    if check.kind == CheckKind::Tcp {
        return Ok(None);
    }
    let mut request = Request::new(NoBody);
    *request.uri_mut() = check.http_path.parse().map_err(io::Error::other)?;
    *request.headers_mut() = fields(check, address).map_err(io::Error::other)?;
    let handshake =
        hyper::client::conn::http1::Builder::new().max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
    let connection = spawn_local(connection);
    let response = sender.send_request(request).await;
    // What follows the head is of no interest.
    connection.abort();
    response.map(|response| Some(response.status())).map_err(io::Error::other)
}

const LARGEST_HEAD: usize = 64 << 10;

fn fields(check: &ActiveCheck, address: &str) -> Result<HeaderMap, http::Error> {
    let mut fields = HeaderMap::new();
    let host = match &check.host {
        Some(host) => host.clone(),
        None => HeaderValue::from_str(address)?,
    };
    fields.try_insert(header::HOST, host)?;
    fields.try_insert(header::USER_AGENT, HeaderValue::from_static("chassis-healthcheck"))?;
    fields.try_insert(header::CONNECTION, HeaderValue::from_static("close"))?;
    for (name, value) in &check.req_headers {
        fields.try_insert(name.clone(), value.clone())?;
    }
    Ok(fields)
}

/// The body of a GET.
struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
