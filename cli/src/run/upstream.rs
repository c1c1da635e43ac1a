//! A real server as what answers requests that pass the plugin.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use chassis_abi::HeaderList;
use chassis_conformance::drive::{Message, Upstream, UpstreamFailure};
use chassis_gateway::headers::{remove_hop_by_hop, set_framing};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// A server that speaks HTTP/1.1; each request has a connection of its own.
pub(crate) struct Remote {
    address: String,
    runtime: Runtime,
}

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
/// The most that is taken of a response's body.
const MOST: usize = 64 << 20;

/// The host and port of `http://HOST[:PORT]`.
pub(crate) fn authority(url: &str) -> Result<String, String> {
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("http")) else {
        return Err("must be http://HOST or http://HOST:PORT".to_owned());
    };
    if authority.as_str().contains('@') || uri.path_and_query().is_some_and(|path| path != "/") {
        return Err("must be http://HOST:PORT alone: the path is that of the request".to_owned());
    }
    Ok(authority.to_string())
}

impl Remote {
    /// One at `host` or `host:port`; nothing is connected yet.
    pub(crate) fn new(authority: &str) -> std::io::Result<Self> {
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Remote { address, runtime })
    }
}

impl Upstream for Remote {
    fn answer(&mut self, request: &Message) -> Result<Message, UpstreamFailure> {
        let failed = |status, message| UpstreamFailure { status, message };
        let sent = outgoing(request).map_err(|error| failed(502, format!("cannot be sent: {error:#}")))?;
        let address = self.address.as_str();
        self.runtime.block_on(async {
            let Ok(connected) = timeout(CONNECT, TcpStream::connect(address)).await else {
                return Err(failed(504, format!("{address}: timed out while connecting")));
            };
            let stream = connected.map_err(|error| failed(502, format!("{address}: cannot connect: {error}")))?;
            match timeout(ANSWER, exchange(stream, sent)).await {
                Ok(answer) => answer.map_err(|error| failed(502, format!("{address}: {}", chain(&*error)))),
                Err(_) => Err(failed(504, format!("{address}: timed out while waiting for the response"))),
            }
        })
    }
}

type AnyError = Box<dyn Error + Send + Sync>;

async fn exchange(stream: TcpStream, request: Request<Whole>) -> Result<Message, AnyError> {
    let (mut sender, connection) = http1::handshake::<_, Whole>(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(async {
        let response = sender.send_request(request).await?;
        incoming(response).await
    });
    let mut open = true;
    // The connection is driven along until the answer is there in whole.
    poll_fn(|context| {
        if open && connection.as_mut().poll(context).is_ready() {
            open = false;
        }
        answer.as_mut().poll(context)
    })
    .await
}

/// A request as it goes over the wire, in origin form.
fn outgoing(message: &Message) -> anyhow::Result<Request<Whole>> {
    let pseudo = |name: &str| message.headers.get(name.as_bytes()).cloned().unwrap_or_default();
    let uri = Uri::try_from(&pseudo(":path")[..]).context("its path")?;
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_bytes(&pseudo(":authority"))?);
    append(&mut headers, &message.headers)?;
    remove_hop_by_hop(&mut headers);
    let trailers = match &message.trailers {
        Some(list) => {
            let mut trailers = HeaderMap::new();
            append(&mut trailers, list)?;
            let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
            // Those that are announced are sent.
            headers.insert(header::TRAILER, HeaderValue::from_str(&names.join(", "))?);
            Some(trailers)
        }
        None => None,
    };
    match (&message.body, &trailers) {
        (None, None) => set_framing(&mut headers, None, false),
        (Some(body), None) => set_framing(&mut headers, Some(body.len() as u64), false),
        (_, Some(_)) => set_framing(&mut headers, None, true),
    }
    let mut request = Request::new(Whole { data: message.body.clone(), trailers });
    *request.method_mut() = Method::from_bytes(&pseudo(":method"))?;
    if *request.method() == Method::CONNECT {
        bail!("there are no tunnels");
    }
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// A response with its whole body.
async fn incoming(response: Response<Incoming>) -> Result<Message, AnyError> {
    let (mut head, mut body) = response.into_parts();
    remove_hop_by_hop(&mut head.headers);
    let mut headers = HeaderList::default();
    headers.push_unchecked(":status", head.status.as_str().to_owned());
    push(&mut headers, &head.headers);
    let mut data = Vec::new();
    let mut trailers = None;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame?.into_data() {
            Ok(piece) if data.len() + piece.len() > MOST => {
                return Err(format!("the response's body is larger than {MOST} bytes").into());
            }
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => {
                let came = trailers.get_or_insert_with(HeaderList::default);
                frame.into_trailers().iter().for_each(|fields| push(came, fields));
            }
        }
    }
    Ok(Message { headers, body: Some(Bytes::from(data)).filter(|body| !body.is_empty()), trailers })
}

/// Adds the fields of a list, without its pseudo-headers.
fn append(headers: &mut HeaderMap, list: &HeaderList) -> anyhow::Result<()> {
    for (name, value) in list.iter().filter(|(name, _)| !name.starts_with(b":")) {
        headers.try_append(HeaderName::from_bytes(name)?, HeaderValue::from_bytes(value)?)?;
    }
    Ok(())
}

fn push(list: &mut HeaderList, fields: &HeaderMap) {
    for (name, value) in fields {
        list.push_unchecked(name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// A body that is all there.
struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_host_and_maybe_a_port() {
        assert_eq!(authority("http://127.0.0.1:1980"), Ok("127.0.0.1:1980".to_owned()));
        assert_eq!(authority("http://example.org/"), Ok("example.org".to_owned()));
        assert_eq!(Remote::new("example.org").unwrap().address, "example.org:80");
        assert_eq!(Remote::new("[::1]:81").unwrap().address, "[::1]:81");
        assert_eq!(Remote::new("[::1]").unwrap().address, "[::1]:80");
        for wrong in ["127.0.0.1:1980", "https://a", "http://a/b", "http://a?b", "http://u@a", "", "/", "http://"] {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        let request = |fields: &[(&'static str, &'static str)]| {
            let headers = fields.iter().copied().collect();
            outgoing(&Message { headers, ..Message::default() }).map(|request| request.headers().clone())
        };
        assert!(request(&[(":method", "GET"), (":path", "/ b")]).is_err());
        assert!(request(&[(":method", "CONNECT"), (":path", "/")]).is_err());
        assert!(request(&[(":method", "GET"), (":path", "")]).is_err());
        let fields = [(":method", "GET"), (":path", "/"), (":authority", "a"), ("connection", "x"), ("x", "1")];
        let headers = request(&[&fields[..], &[("content-length", "7")]].concat()).unwrap();
        assert_eq!((headers.len(), &headers["host"]), (1, &HeaderValue::from_static("a")));
    }
}
