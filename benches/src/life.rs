//! Whole requests through a worker, as the gateway drives them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis_abi::{Direction, HeaderList, Identity, LogLevel, Services};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engines::ProxyWasmEngine;
use chassis_host::{
    FailPolicy, HostServices, Link, LogLine, LogSink, Plugin, PluginLimits, PluginSpec, Preparer, Worker,
};

use crate::vm::BUDGET;
use crate::work::Run;

/// How many requests are made ready before their time is taken.
const BATCH: u64 = 64;

/// Requests through a chain of this many VMs of one plugin.
///
/// # Errors
/// If the plugin cannot be loaded or started, or does not let a request pass.
pub(crate) fn requests(engine: &ProxyWasmEngine, module: &[u8], chain: usize) -> Result<Run, String> {
    let spec = PluginSpec {
        identity: Identity { name: "bench".to_owned(), ..Identity::default() },
        file: PathBuf::from("bench.wasm"),
        limits: PluginLimits { deadline: BUDGET, start_deadline: BUDGET, ..PluginLimits::default() },
        fail_policy: FailPolicy::Closed,
    };
    let plugin = Plugin::from_bytes(spec, module.to_vec(), &**engine, &CompilePolicy::InProcess)
        .map_err(|error| error.to_string())?;
    let sink: Arc<dyn LogSink> = Arc::new(Nowhere);
    let services = {
        let sink = Arc::clone(&sink);
        move || Box::new(HostServices::new(Arc::clone(&sink), LogLevel::Warn)) as Box<dyn Services>
    };
    let preparer = Preparer::new(Arc::new(services.clone())).map_err(|error| error.to_string())?;
    let mut worker = Worker::new(services(), sink, preparer);
    let mut links = Vec::with_capacity(chain);
    for _ in 0..chain {
        let plugin = worker
            .add_plugin(Arc::clone(&plugin), vec![Bytes::new()])
            .map_err(|error| format!("the plugin does not start: {error}"))?;
        links.push(Link { plugin, configuration: 0 });
    }
    worker.wait_prepared(BUDGET);
    let links: Arc<[Link]> = links.into();
    one(&mut worker, &links)?;
    Ok(Box::new(move |requests| {
        let mut spent = Duration::ZERO;
        let mut left = requests;
        while left > 0 {
            let batch = left.min(BATCH);
            let lists: Vec<_> = (0..batch).map(|_| (request(), response())).collect();
            let begin = Instant::now();
            for (request, response) in lists {
                let key = worker.open(Arc::clone(&links), request, []);
                worker.request_headers(key, true);
                worker.response_headers(key, response, true);
                worker.close(key);
            }
            spent += begin.elapsed();
            left -= batch;
        }
        Ok(spent)
    }))
}

/// One request that has to pass, so that nothing else is measured.
fn one(worker: &mut Worker, links: &Arc<[Link]>) -> Result<(), String> {
    let key = worker.open(Arc::clone(links), request(), []);
    worker.request_headers(key, true);
    let passed = worker.progress(key).is_some_and(|progress| progress.request.headers && !progress.answered);
    let headers = worker.take_headers(key, Direction::Request).len();
    worker.response_headers(key, response(), true);
    let answered = worker.progress(key).is_some_and(|progress| progress.response.headers);
    worker.close(key);
    if passed && answered && headers >= request().len() {
        return Ok(());
    }
    Err("the plugin did not let the request and its response pass".to_owned())
}

/// A request as a browser's or a tool's, with the token that `prime-auth` wants.
fn request() -> HeaderList {
    list(&[
        (":method", "GET"),
        (":path", "/api/items/4711?page=2"),
        (":authority", "shop.example.com"),
        (":scheme", "http"),
        ("user-agent", "curl/8.5.0"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br"),
        ("token", "32323"),
        ("x-request-id", "6f1c2b9e-7d43-4f0a-9c1e-2f1b5a3d8e70"),
        ("x-forwarded-for", "203.0.113.7"),
    ])
}

fn response() -> HeaderList {
    list(&[
        (":status", "200"),
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("date", "Sat, 21 Nov 2026 12:00:00 GMT"),
    ])
}

fn list(fields: &[(&'static str, &'static str)]) -> HeaderList {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

struct Nowhere;

impl LogSink for Nowhere {
    fn log(&self, line: &LogLine<'_>) {
        std::hint::black_box(line.message.len());
    }
}
