//! A small HTTP/1.1 server for operators: whole requests in, whole responses out, everything bounded.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, header, request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// How many bytes of body a request may have.
    fn body_limit(&self) -> usize {
        0
    }

    /// Whether answering may take long, so that it is done on another thread.
    fn may_block(&self) -> bool {
        false
    }

    fn answer(&self, request: &Asked) -> Response<Bytes>;
}

/// A whole request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) head: request::Parts,
    pub(crate) body: Bytes,
    pub(crate) client: IpAddr,
}

/// What is listened on, and who answers.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) listener: StdListener,
    pub(super) handler: Arc<dyn Handler>,
}

/// How many clients an endpoint has at once; others wait.
const CONNECTIONS: usize = 64;

/// How long a head may take, and a body, and a connection altogether.
const HEAD: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(30);
const CONNECTION: Duration = Duration::from_secs(600);

/// How long is waited after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves for ever.
pub(super) async fn serve(endpoint: Endpoint) {
    let listener = match TcpListener::from_std(endpoint.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("cannot serve on {}: {error}", endpoint.address),
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let handler = Arc::clone(&endpoint.handler);
                tokio::spawn(async move {
                    let service = service_fn(|request| handle(&handler, request, client.ip()));
                    let mut http = http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
                    // How it ends is the client's matter.
                    let _ =
                        tokio::time::timeout(CONNECTION, http.serve_connection(TokioIo::new(stream), service)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!("an endpoint cannot accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn handle(
    handler: &Arc<dyn Handler>,
    request: Request<Incoming>,
    client: IpAddr,
) -> Result<Response<Whole>, Infallible> {
    let (head, body) = request.into_parts();
    let mut response = match tokio::time::timeout(BODY, whole(body, handler.body_limit())).await {
        Ok(Ok(body)) => {
            let asked = Asked { head, body, client };
            let Asked { head, body, .. } = &asked;
            tracing::debug!(client = %asked.client, bytes = body.len(), "asked {} {}", head.method, head.uri.path());
            if handler.may_block() {
                let handler = Arc::clone(handler);
                let answer = tokio::task::spawn_blocking(move || handler.answer(&asked)).await;
                // A panic was reported by its thread.
                answer.unwrap_or_else(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "failed"))
            } else {
                handler.answer(&asked)
            }
        }
        Ok(Err(status)) => refused(status, "the body is too large, or was broken off"),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    // What operators are told changes.
    let _ = response.headers_mut().try_insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response.map(Whole))
}

/// The whole body, or why there is none.
async fn whole(mut body: Incoming, limit: usize) -> Result<Bytes, StatusCode> {
    let too_large = body.size_hint().lower() > limit as u64;
    if too_large {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut bytes = BytesMut::new();
    let mut body = pin!(&mut body);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes.freeze())
}

/// A body that is here.
struct Whole(Bytes);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// A response with a JSON value.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Bytes> {
    of_type(status, "application/json", format!("{value}\n"))
}

/// A response with text.
pub(crate) fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Bytes> {
    of_type(status, content_type, text)
}

fn refused(status: StatusCode, message: &str) -> Response<Bytes> {
    json(status, &serde_json::json!({ "error_msg": message }))
}

fn of_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    // A map with one field has room.
    let _ = response.headers_mut().try_insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
