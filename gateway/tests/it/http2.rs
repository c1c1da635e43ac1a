//! HTTP/2 with clients that know beforehand that it is spoken.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::client::Client;
use crate::frames::{Frames, PREFACE, frame};
use crate::upstream::Upstream;
use crate::{Gateway, SCRIPT};

cases! {
    each_engine: [plugins_see_http2_requests_as_others]
    once: [
        many_requests_share_a_connection,
        bodies_and_trailers_pass_both_ways,
        the_rules_for_heads_are_those_of_http1,
        cookies_are_one_field,
        head_is_answered_without_a_body,
        a_client_that_expects_100_continue_gets_it,
        a_body_that_stops_coming_is_408,
        a_reset_ends_the_request_at_the_upstream,
        a_stream_that_is_not_read_is_reset_and_others_go_on,
        an_upstream_that_breaks_off_resets_the_stream,
        a_quiet_client_is_told_to_go,
        a_drain_ends_what_is_running,
        floods_are_answered_with_goaway,
        headers_that_do_not_end_are_not_waited_for,
        bad_frames_end_the_connection_and_reach_no_upstream,
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client with one connection.
pub(crate) struct Http2 {
    pub(crate) runtime: Runtime,
    sender: SendRequest<Bytes>,
}

pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let (sender, connection) = client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Http2 { runtime, sender }
    }

    /// Begins a request.
    pub(crate) fn begin(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let sender = self.sender.clone();
        let mut sender = self.runtime.block_on(sender.ready()).unwrap();
        let begun = sender.send_request(request, ends).unwrap();
        self.go_on();
        begun
    }

    /// Lets what was given to the connection go out, which else only happens while something is waited for.
    pub(crate) fn go_on(&self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(2)).await });
    }

    pub(crate) fn answer(&self, response: ResponseFuture) -> Result<Answer, h2::Error> {
        self.runtime.block_on(async { tokio::time::timeout(LONG, read(response)).await.unwrap() })
    }

    pub(crate) fn ask(&mut self, request: Request<()>) -> Result<Answer, h2::Error> {
        let (response, _) = self.begin(request, true);
        self.answer(response)
    }

    fn get(&mut self, path: &str) -> Answer {
        self.ask(get(path)).unwrap()
    }
}

const LONG: Duration = Duration::from_secs(20);

async fn read(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let body = read_body(&mut stream).await?;
    let trailers = poll_fn(|cx| stream.poll_trailers(cx)).await?;
    Ok(Answer { head: Response::from_parts(head, ()), body, trailers })
}

async fn read_body(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    Ok(body)
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://test{path}")).body(()).unwrap()
}

fn many_requests_share_a_connection() {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            let path = request.line.split(' ').nth(1).unwrap().to_owned();
            connection.send(format!("HTTP/1.1 200 OK\r\nX-Up: 1\r\nContent-Length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    for round in 0..5 {
        let paths: Vec<_> = (0..50).map(|number| format!("/{round}/{number}")).collect();
        let begun: Vec<_> = paths.iter().map(|path| client.begin(get(path), true).0).collect();
        for (response, path) in begun.into_iter().zip(&paths) {
            let answer = client.answer(response).unwrap();
            assert_eq!((answer.status(), str::from_utf8(&answer.body).unwrap()), (200, path.as_str()));
            assert_eq!(answer.head.headers()["x-up"], "1");
            assert!(!answer.head.headers().contains_key("connection"));
        }
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 250);
    assert_eq!(requests[0].names(), ["host"]);
    assert_eq!(requests[0].header("host"), Some("test"));
}

fn bodies_and_trailers_pass_both_ways() {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            let head = "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n";
            let sum = request.body.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string();
            connection.send(format!("{head}{:x}\r\n{sum}\r\n0\r\nX-T: 1\r\n\r\n", sum.len()));
        }
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    for (length, told) in [(3, true), (3, false), (1 << 20, true), (1 << 20, false)] {
        let mut request = Request::post("http://test/").header("te", "trailers").header("trailer", "x-r");
        if told {
            request = request.header("content-length", length);
        }
        let (response, mut sending) = client.begin(request.body(()).unwrap(), false);
        client.runtime.block_on(async {
            let mut data = Bytes::from(vec![1; length]);
            while !data.is_empty() {
                sending.reserve_capacity(data.len());
                let capacity = poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
                sending.send_data(data.split_to(capacity.min(data.len())), false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-r", "2".parse().unwrap());
            sending.send_trailers(trailers).unwrap();
        });
        let answer = client.answer(response).unwrap();
        assert_eq!((answer.status(), answer.body), (200, length.to_string().into_bytes()));
        assert_eq!(answer.trailers.unwrap()["x-t"], "1");
        let requests = upstream.requests();
        let request = requests.last().unwrap();
        assert_eq!(request.body.len(), length);
        let length = length.to_string();
        assert_eq!(request.header("content-length"), told.then_some(length.as_str()));
        if !told {
            assert_eq!(request.trailers, [("x-r".to_owned(), "2".to_owned())]);
        }
    }
}

fn the_rules_for_heads_are_those_of_http1() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    let many =
        (0..101).fold(Request::get("http://test/"), |request, number| request.header(format!("x-{number}"), "1"));
    let two = Request::get("http://test/").header("content-length", "0").header("content-length", "0");
    let tunnel = Request::builder().method("CONNECT").uri("test:1").body(()).unwrap();
    for (request, status) in [
        (get(&format!("/{}", "x".repeat(9000))), 414),
        (many.body(()).unwrap(), 431),
        (Request::get("http://test/").header("x", "y".repeat(70_000)).body(()).unwrap(), 431),
        (Request::get("http://test/").header("host", "other").body(()).unwrap(), 400),
        (two.body(()).unwrap(), 400),
        (get("/a/../../b"), 400),
        (tunnel, 405),
    ] {
        let words = format!("{request:.100?}");
        assert_eq!(client.ask(request).unwrap().status(), status, "{words}");
    }
    assert_eq!(upstream.requests(), []);
    assert_eq!(client.get("/").status(), 200);
}

fn cookies_are_one_field() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    let request = Request::get("http://test/").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    assert_eq!(client.ask(request).unwrap().status(), 200);
    let requests = upstream.requests();
    assert_eq!(requests[0].headers.iter().filter(|(name, _)| name == "cookie").count(), 1);
    assert_eq!(requests[0].header("cookie"), Some("a=1; b=2"));
    // As many lines as there may be are not reached by pieces of one field.
    let many = (0..150).fold(Request::get("http://test/"), |request, _| request.header("cookie", "a=1"));
    assert_eq!(client.ask(many.body(()).unwrap()).unwrap().status(), 200);
}

fn head_is_answered_without_a_body() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    // The gateway's own answers have bodies: one with a bad escape, and one from the upstream.
    for (path, status) in [("/%zz", 400), ("/", 200)] {
        let request = Request::head(format!("http://test{path}")).body(()).unwrap();
        let answer = client.ask(request).unwrap();
        assert_eq!((answer.status(), answer.body.len()), (status, 0), "{path}");
    }
}

fn a_client_that_expects_100_continue_gets_it() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    let request = Request::post("http://test/").header("expect", "100-continue").body(()).unwrap();
    let (mut response, mut sending) = client.begin(request, false);
    let status = client.runtime.block_on(async {
        let informational = tokio::time::timeout(LONG, poll_fn(|cx| response.poll_informational(cx))).await.unwrap();
        informational.unwrap().unwrap().status()
    });
    assert_eq!(status, StatusCode::CONTINUE);
    client.runtime.block_on(async { sending.send_data("body".into(), true).unwrap() });
    assert_eq!(client.answer(response).unwrap().status(), 200);
    assert_eq!(upstream.requests()[0].body, b"body");
}

fn a_body_that_stops_coming_is_408() {
    let upstream = Upstream::answering(OK);
    let routes = format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
    let gateway = Gateway::with(&routes, |settings| settings.client.idle = Duration::from_millis(300));
    let mut client = Http2::connect(gateway.address);
    let (response, mut sending) = client.begin(Request::post("http://test/").body(()).unwrap(), false);
    client.runtime.block_on(async { sending.send_data("a".into(), false).unwrap() });
    assert_eq!(client.answer(response).unwrap().status(), 408);
    assert_eq!(upstream.requests(), []);
}

fn a_reset_ends_the_request_at_the_upstream() {
    let (tell, told) = std::sync::mpsc::channel();
    let upstream = Upstream::start(move |mut connection| {
        connection.request().unwrap();
        tell.send("came").unwrap();
        assert!(connection.is_closed_within(LONG));
        tell.send("closed").unwrap();
    });
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    let (response, mut sending) = client.begin(get("/"), true);
    assert_eq!(told.recv_timeout(LONG), Ok("came"));
    sending.send_reset(Reason::CANCEL);
    client.go_on();
    assert_eq!(told.recv_timeout(LONG), Ok("closed"));
    assert!(client.answer(response).is_err());
}

fn a_stream_that_is_not_read_is_reset_and_others_go_on() {
    let upstream = Upstream::start(|mut connection| {
        while let Some(request) = connection.request() {
            let body = if request.line.contains("large") { vec![b'x'; 1 << 20] } else { b"ok".to_vec() };
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            connection.send(body);
        }
    });
    let routes = format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
    let gateway = Gateway::with(&routes, |settings| settings.client.idle = Duration::from_millis(500));
    let mut client = Frames::begin(gateway.address);
    // No window for bodies at all; then the request, and another one that has no body to be sent.
    client.send(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    client.request(1, "/large");
    assert_eq!(
        client.wait_for(|kind, stream, _| kind == 3 && stream == 1)[..],
        u32::from(Reason::CANCEL).to_be_bytes()
    );
    client.send(&frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]));
    client.request(3, "/small");
    assert_eq!(client.wait_for(|kind, stream, _| kind == 0 && stream == 3), b"ok");
}

fn an_upstream_that_breaks_off_resets_the_stream() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nbroken");
    let gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    let error = client.ask(get("/")).err().unwrap();
    assert!(error.is_reset() && error.is_remote(), "{error}");
    // The connection is as good as before.
    let (response, _) = client.begin(get("/"), true);
    assert!(client.answer(response).err().unwrap().is_reset());
}

fn a_quiet_client_is_told_to_go() {
    let upstream = Upstream::answering(OK);
    let routes = format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
    let gateway = Gateway::with(&routes, |settings| settings.client.idle = Duration::from_millis(300));
    let mut client = Frames::begin(gateway.address);
    client.request(1, "/");
    assert_eq!(client.wait_for(|kind, stream, _| kind == 0 && stream == 1), b"ok");
    assert_eq!(client.goaway(), Some(Reason::NO_ERROR.into()));
}

fn a_drain_ends_what_is_running() {
    let upstream = Upstream::start(|mut connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_millis(500));
            connection.send(OK);
        }
    });
    let mut gateway = Gateway::to(upstream.address);
    let mut client = Http2::connect(gateway.address);
    let (response, _) = client.begin(get("/"), true);
    let begun = Instant::now();
    while upstream.requests().is_empty() {
        assert!(begun.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
    let server = gateway.server.take().unwrap();
    let ending = thread::spawn(move || server.shut_down().unwrap());
    assert_eq!(client.answer(response).unwrap().body, b"ok");
    ending.join().unwrap();
}

/// The frames of one number.
type Flood = Box<dyn Fn(u32) -> Vec<u8>>;

/// What a client may send for ever that costs it nothing.
fn floods_are_answered_with_goaway() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let repeated = |frame: Vec<u8>| move |_: u32| frame.clone();
    let calm: u32 = Reason::ENHANCE_YOUR_CALM.into();
    let rapid = |number: u32| [request_frame(number * 2 + 1), frame(3, 0, number * 2 + 1, &[0, 0, 0, 8])].concat();
    let continued = |number: u32| match number {
        0 => frame(1, 1, 1, b"\x82"),
        _ => frame(9, 0, 1, b""),
    };
    let empty = |number: u32| match number {
        0 => frame(1, 4, 1, &[&b"\x83\x86\x84\x41\x04"[..], b"test"].concat()),
        _ => frame(0, 0, 1, b""),
    };
    let floods: [(&str, Flood); 7] = [
        ("pings", Box::new(repeated(frame(6, 0, 0, &[0; 8])))),
        ("settings", Box::new(repeated(frame(4, 0, 0, &[])))),
        ("priorities", Box::new(repeated(frame(2, 0, 1, &[0, 0, 0, 0, 1])))),
        ("unknown frames", Box::new(repeated(frame(77, 0, 0, &[])))),
        ("rapid reset", Box::new(rapid)),
        ("continuations", Box::new(continued)),
        ("empty data", Box::new(empty)),
    ];
    for (name, flood) in floods {
        let mut client = Frames::begin(gateway.address);
        client.flood(30_000, flood);
        assert_eq!(client.goaway(), Some(calm), "{name}");
    }
    // Nobody else is worse off.
    assert_eq!(Client::connect(gateway.address).get("/").status, 200);
    assert_eq!(Http2::connect(gateway.address).get("/").status(), 200);
}

fn headers_that_do_not_end_are_not_waited_for() {
    let upstream = Upstream::answering(OK);
    let routes = format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{}\": 1 }} }} }}]", upstream.address);
    let gateway = Gateway::with(&routes, |settings| settings.client.head = Duration::from_millis(400));
    for begin in [frame(1, 1, 1, b"\x82"), request_frame(1)[..12].to_vec()] {
        let mut client = Frames::begin(gateway.address);
        client.send(&begin);
        let begun = Instant::now();
        assert_eq!(client.goaway(), Some(Reason::ENHANCE_YOUR_CALM.into()));
        assert!(begun.elapsed() >= Duration::from_millis(350));
    }
    assert_eq!(upstream.requests(), []);
}

fn bad_frames_end_the_connection_and_reach_no_upstream() {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::to(upstream.address);
    let good = &b"\x82\x86\x84\x41\x04test"[..];
    for (name, bytes) in [
        ("a frame that is too large", [&[0, 255, 255, 1, 5, 0, 0, 0, 1][..], &[0; 100]].concat()),
        ("headers on stream 0", frame(1, 5, 0, good)),
        ("headers on an even stream", frame(1, 5, 2, good)),
        ("data on a stream that is idle", frame(0, 1, 1, b"x")),
        ("a window of nothing", frame(8, 0, 0, &[0; 4])),
        ("headers that are no HPACK", frame(1, 5, 1, &[0xff; 20])),
        ("settings of a bad length", frame(4, 0, 0, &[0; 5])),
        ("a promise", frame(5, 4, 1, &[0, 0, 0, 2, 0x82])),
        ("a continuation of nothing", frame(9, 4, 1, good)),
    ] {
        let mut client = Frames::begin(gateway.address);
        client.send(&bytes);
        let code = client.goaway();
        assert!(code.is_some_and(|code| code != 0), "{name}: {code:?}");
    }
    for (name, fields) in [
        ("a field of the connection", b"\x40\x0aconnection\x05close".to_vec()),
        ("a transfer coding", b"\x40\x11transfer-encoding\x07chunked".to_vec()),
        ("a name in upper case", b"\x40\x03X-A\x01a".to_vec()),
        ("a line end in a value", b"\x40\x01a\x03a\r\n".to_vec()),
        ("a pseudo-header twice", b"\x82".to_vec()),
        ("an unknown pseudo-header", b"\x40\x02:x\x01a".to_vec()),
        ("a length that is none", b"\x40\x0econtent-length\x02+5".to_vec()),
    ] {
        let mut client = Frames::begin(gateway.address);
        client.send(&frame(1, 5, 1, &[good, &fields].concat()));
        let end = client.wait_for(|kind, _, _| matches!(kind, 3 | 7));
        let is_goaway = end.len() >= 8;
        let code = u32::from_be_bytes(end[end.len().min(8) - 4..][..4].try_into().unwrap());
        assert_eq!(code, u32::from(Reason::PROTOCOL_ERROR), "{name}: goaway {is_goaway}");
    }
    let mut client = Frames::connect(gateway.address);
    client.send(&[&PREFACE[..18], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    client.goaway();
    assert_eq!(upstream.requests(), []);
}

fn request_frame(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, &[&b"\x82\x86\x84\x41\x04"[..], b"test"].concat())
}

fn plugins_see_http2_requests_as_others(engine: &str) {
    let upstream = Upstream::answering(OK);
    let gateway = Gateway::through(engine, SCRIPT, "x", upstream.address);
    let mut client = Http2::connect(gateway.address);
    let request = Request::get("http://test/x").header("x-own", "1").body(()).unwrap();
    let answer = client.ask(request).unwrap();
    assert_eq!((answer.status(), answer.body), (200, b"ok".to_vec()));
    assert_eq!(upstream.requests()[0].header("host"), Some("test"));
    assert_eq!(upstream.requests()[0].header("x-own"), Some("1"));
}
