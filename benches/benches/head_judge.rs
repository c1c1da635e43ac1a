//! What it costs to judge request heads before hyper sees them: hyper on a socket in memory, alone and behind the
//! gateway's gate, and the judge by itself.
//!
//! Both sides alternate in short rounds, so that a busy machine disturbs both alike; the medians are printed. A socket
//! in memory costs nothing, so that the ratio is the worst that can be: no system call dilutes it.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::convert::Infallible;
use std::hint::black_box;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use chassis_gateway::head::{Client, ClientLimits, Gate, HeadLimits, Judge, Verdict};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

const ROUNDS: usize = 2001;
/// Heads on one connection, which is one side of a round.
const HEADS: usize = 200;

const CURL: &str = "GET /anything HTTP/1.1\r\nHost: 127.0.0.1:9080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &str = "GET /catalogue/items/4711?page=2&sort=price HTTP/1.1\r\nHost: shop.example.com\r\n\
    Connection: keep-alive\r\nCache-Control: max-age=0\r\nsec-ch-ua: \"Browser\";v=\"140\", \"Not A Brand\";v=\"8\"\r\n\
    sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Browser/140.0.0.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
    Referer: https://shop.example.com/catalogue\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark; seen=1\r\n\r\n";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    println!(
        "{:<28} {:>6} {:>9} {:>10} {:>9} {:>6} {:>9}",
        "head", "bytes", "judge ns", "hyper ns", "gated ns", "ratio", "added ns"
    );
    for (name, head, reads) in [("curl", CURL, 1), ("browser", BROWSER, 1), ("browser, in two reads", BROWSER, 2)] {
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            rounds.push((judge(head), hyper_alone(&runtime, head, reads), hyper_gated(&runtime, head, reads)));
        }
        let of = |value: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(value));
        println!(
            "{name:<28} {:>6} {:>9.0} {:>10.0} {:>9.0} {:>6.3} {:>9.0}",
            head.len(),
            of(|round| round.0),
            of(|round| round.1),
            of(|round| round.2),
            of(|round| round.2 / round.1),
            of(|round| round.2 - round.1),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds per head.
fn per_head(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_nanos() as f64 / HEADS as f64
}

fn judge(head: &str) -> f64 {
    let mut judge = Judge::new(HeadLimits::default());
    per_head(|| {
        for _ in 0..HEADS {
            assert_eq!(judge.judge(black_box(head.as_bytes())), Verdict::Pass(head.len()));
        }
    })
}

fn hyper_alone(runtime: &Runtime, head: &'static str, reads: usize) -> f64 {
    let mut written = 0;
    let io = Requests::new(head, reads, &mut written);
    let service = service_fn(|request| async move { answer(&request) });
    let nanos = per_head(|| runtime.block_on(serve(io, service)));
    assert!(written >= HEADS * RESPONSE, "{written}");
    nanos
}

fn hyper_gated(runtime: &Runtime, head: &'static str, reads: usize) -> f64 {
    let mut written = 0;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let client = Client::new(address, address, 1);
    let begin = &client;
    let service = service_fn(|request| {
        let exchange = begin.begin();
        async move {
            let response = answer(&request);
            drop(exchange);
            response
        }
    });
    let nanos = per_head(|| {
        runtime.block_on(async {
            let io = Requests::new(head, reads, &mut written);
            let gate = Gate::new(io, HeadLimits::default(), ClientLimits::default(), client.clone());
            serve(gate, service).await;
        });
    });
    assert!(written >= HEADS * RESPONSE && client.requests() == HEADS as u64, "{written}");
    nanos
}

/// The least that a response has.
const RESPONSE: usize = "HTTP/1.1 200 OK\r\n\r\n".len();

fn answer(request: &Request<Incoming>) -> Result<Response<String>, Infallible> {
    black_box(request.headers().len());
    Ok(Response::new(String::new()))
}

async fn serve<I, S, F>(io: I, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: hyper::service::Service<Request<Incoming>, Response = Response<String>, Error = Infallible, Future = F>,
    F: Future<Output = Result<Response<String>, Infallible>>,
{
    http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(io), service).await.unwrap();
}

/// A socket on which the same head comes again and again, each in so many reads, when the one before it was answered.
struct Requests<'a> {
    head: &'static [u8],
    reads: usize,
    /// How many reads are left, in all and until an answer has to come.
    left: usize,
    now: usize,
    waker: Option<Waker>,
    written: &'a mut usize,
}

impl<'a> Requests<'a> {
    fn new(head: &'static str, reads: usize, written: &'a mut usize) -> Self {
        Requests { head: head.as_bytes(), reads, left: HEADS * reads, now: reads, waker: None, written }
    }
}

impl AsyncRead for Requests<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.now == 0 {
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.left > 0 {
            let part = self.reads - self.now;
            let size = self.head.len();
            buf.put_slice(&self.head[part * size / self.reads..(part + 1) * size / self.reads]);
            self.left -= 1;
            self.now -= 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Requests<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        *self.written += buf.len();
        self.now = self.reads;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
