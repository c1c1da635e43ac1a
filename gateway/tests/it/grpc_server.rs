//! A gRPC server on a thread of its own, without a gRPC library: the method says how it behaves.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

/// The server, which ends with the test process.
pub(crate) struct GrpcServer {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

/// What it has seen.
#[derive(Default)]
struct Seen {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Seen {
    fn add(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
        self.more.notify_all();
    }
}

impl GrpcServer {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                listener.set_nonblocking(true).unwrap();
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    shared.add("connection");
                    spawn_local(serve(stream, Arc::clone(&shared)));
                }
            });
        });
        GrpcServer { address, seen }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen.lines.lock().unwrap().clone()
    }

    /// Waits until it has seen this.
    pub(crate) fn wait_for(&self, line: &str) {
        let lines = self.seen.lines.lock().unwrap();
        let missing = |lines: &mut Vec<String>| !lines.iter().any(|seen| seen == line);
        let (lines, waited) = self.seen.more.wait_timeout_while(lines, Duration::from_secs(5), missing).unwrap();
        assert!(!waited.timed_out(), "no {line}: {lines:?}");
    }
}

async fn serve(stream: TcpStream, seen: Arc<Seen>) {
    let dies = Arc::new(Notify::new());
    let Ok(mut connection) = server::handshake(stream).await else { return };
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = dies.notified() => return,
        };
        let Some(Ok((request, respond))) = accepted else { return seen.add("connection ended") };
        spawn_local(answer(request, respond, Arc::clone(&seen), Arc::clone(&dies)));
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, seen: Arc<Seen>, dies: Arc<Notify>) {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let fields: Vec<_> =
        head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    seen.add(format!("{} {path} {}", head.method, fields.join(", ")));
    let method = path.rsplit('/').next().unwrap_or_default();
    let status: u16 = method.strip_prefix("Http").map_or(200, |status| status.parse().unwrap());
    match method {
        "Refused" => return respond.send_reset(Reason::REFUSED_STREAM),
        "Calm" => return respond.send_reset(Reason::ENHANCE_YOUR_CALM),
        "Silent" => {
            let reset = poll_fn(|cx| respond.poll_reset(cx)).await;
            return seen.add(format!("reset {:?}", reset.unwrap()));
        }
        "Only" => {
            let fields = [("grpc-status", "7"), ("grpc-message", "no%20way"), ("t", "2")];
            respond.send_response(head_of(200, &fields), true).unwrap();
            return;
        }
        "Deaf" => {
            let mut sending = respond.send_response(head_of(200, &[("i", "1")]), false).unwrap();
            let reset = poll_fn(|cx| sending.poll_reset(cx)).await;
            return seen.add(format!("reset {:?}", reset.unwrap()));
        }
        _ if status != 200 => {
            let response = Response::builder().status(status).body(()).unwrap();
            respond.send_response(response, true).unwrap();
            return;
        }
        _ => {}
    }
    let coding: &[(&str, &str)] =
        if method == "Coded" { &[("grpc-encoding", "gzip"), ("i", "1")] } else { &[("i", "1")] };
    let mut sending = respond.send_response(head_of(200, coding), false).unwrap();
    match method {
        "Echo" => {
            // Each message as it comes; this one's are all shorter than a frame.
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                seen.add(format!("message {}", data.escape_ascii()));
                send(&mut sending, &data).await;
            }
            seen.add("end");
            ok(&mut sending);
        }
        "Sum" => {
            let len = read(&mut body).await;
            seen.add(format!("read {len}"));
            send(&mut sending, &framed(len.to_string().as_bytes())).await;
            ok(&mut sending);
        }
        "Pieces" => {
            for byte in framed(b"pieces") {
                send(&mut sending, &[byte]).await;
                tokio::task::yield_now().await;
            }
            ok(&mut sending);
        }
        "Several" => {
            send(&mut sending, &[framed(b"a"), framed(b""), framed(b"bc")].concat()).await;
            ok(&mut sending);
        }
        "Endless" => {
            let mut number = 0;
            while try_send(&mut sending, &framed(&[b'x'; 1000])).await {
                number += 1;
            }
            seen.add(if number > 100 { "sent much" } else { "sent little" });
        }
        "Nothing" => ok(&mut sending),
        "Failing" => {
            send(&mut sending, &framed(b"a")).await;
            trailers(&mut sending, &[("grpc-status", "5"), ("grpc-message", "none%2Fthere"), ("t", "2")]);
        }
        "Odd" => {
            send(&mut sending, &framed(b"a")).await;
            trailers(&mut sending, &[("t", "2")]);
        }
        "Compressed" | "Coded" => send(&mut sending, b"\x01\0\0\0\x01a").await,
        "Invalid" => send(&mut sending, b"\x07\0\0\0\x01a").await,
        "Large" => send(&mut sending, b"\0\xff\xff\xff\xff").await,
        "Cut" => {
            send(&mut sending, b"\0\0\0\0\x05ab").await;
            ok(&mut sending);
        }
        "Dies" => {
            send(&mut sending, &framed(b"last words")).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            dies.notify_one();
        }
        other => panic!("no method {other}"),
    }
    // What is sent reaches the client before the stream is dropped.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// How many bytes come.
async fn read(body: &mut RecvStream) -> usize {
    let mut len = 0;
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        len += data.len();
    }
    len
}

fn head_of(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let builder = Response::builder().status(status).header("content-type", "application/grpc");
    fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

async fn send(sending: &mut SendStream<Bytes>, data: &[u8]) {
    try_send(sending, data).await;
}

async fn try_send(sending: &mut SendStream<Bytes>, data: &[u8]) -> bool {
    let mut data = Bytes::copy_from_slice(data);
    while !data.is_empty() {
        sending.reserve_capacity(data.len());
        while sending.capacity() == 0 {
            if !matches!(poll_fn(|cx| sending.poll_capacity(cx)).await, Some(Ok(_))) {
                return false;
            }
        }
        let piece = data.split_to(sending.capacity().min(data.len()));
        if sending.send_data(piece, false).is_err() {
            return false;
        }
    }
    true
}

fn ok(sending: &mut SendStream<Bytes>) {
    trailers(sending, &[("grpc-status", "0"), ("t", "2")]);
}

fn trailers(sending: &mut SendStream<Bytes>, fields: &[(&'static str, &str)]) {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, value.parse().unwrap());
    }
    let _ = sending.send_trailers(map);
}
