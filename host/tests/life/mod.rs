//! A whole request through a worker on the native engine: what the host itself does, without an engine's part. The tests
//! count its allocations, the benches its time.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Direction, EXPORTS, HeaderList, Identity, LogLevel, ProxyWasm, Services, VmState};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::native::{Guest, Host, NativeEngine};
use chassis_engine_api::{AnyEngine, Engine, Stop, erase};
use chassis_host::{
    FailPolicy, HostServices, Link, LogLine, LogSink, Plugin, PluginLimits, PluginSpec, Preparer, Worker,
};

/// The value of the header that guests read.
pub(crate) const VALUE: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// The ten headers of the request. Each is held by reference, as what comes from a network is.
pub(crate) fn headers() -> Vec<(Bytes, Bytes)> {
    let headers: [(&str, &[u8]); 10] = [
        (":method", b"GET"),
        (":path", b"/search?q=proxy"),
        (":authority", b"example.com"),
        (":scheme", b"https"),
        ("user-agent", b"curl/8.5.0"),
        ("accept", b"*/*"),
        ("x-request-id", VALUE),
        ("accept-encoding", b"gzip, deflate, br"),
        ("cookie", b"session=31d4d96e407aad42"),
        ("x-forwarded-for", b"203.0.113.7"),
    ];
    headers.map(|(name, value)| (Bytes::from(name.to_owned()), Bytes::from(value.to_vec()))).into()
}

struct Silent;

impl LogSink for Silent {
    fn log(&self, line: &LogLine<'_>) {
        panic!("{}: {}", line.plugin, line.message);
    }
}

/// A worker with one plugin of so many empty configurations, whose spare is ready, and the chain of that plugin.
pub(crate) fn worker<E: Engine>(engine: E, module: Vec<u8>, configurations: usize) -> (Worker, Arc<[Link]>) {
    let services = || Box::new(HostServices::new(Arc::new(Silent), LogLevel::Info)) as Box<dyn Services>;
    let mut worker = Worker::new(services(), Arc::new(Silent), Preparer::new(Arc::new(services)).unwrap());
    let spec = PluginSpec {
        identity: Identity { name: "guest".to_owned(), ..Identity::default() },
        file: PathBuf::new(),
        limits: PluginLimits::default(),
        fail_policy: FailPolicy::Closed,
    };
    let engine: Arc<dyn AnyEngine<VmState>> = erase::<E, ProxyWasm, VmState>(engine, EXPORTS);
    let plugin = Plugin::from_bytes(spec, module, &*engine, &CompilePolicy::InProcess).unwrap();
    let plugin = worker.add_plugin(plugin, vec![Bytes::new(); configurations]).unwrap();
    worker.wait_prepared(Duration::from_secs(60));
    (worker, [Link { plugin, configuration: 0 }].into())
}

/// Two reads and one added header per request, each checked.
struct Life {
    next: Cell<u32>,
}

impl Guest for Life {
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        match export {
            "proxy_on_memory_allocate" => {
                let at = self.next.get();
                self.next.set(65536 | (at + slots[0] as u32 + 15) & 0xeff0);
                slots[0] = u64::from(at);
            }
            "proxy_on_request_headers" => {
                read(host, b"x-request-id", VALUE)?;
                read(host, b":path", b"/search?q=proxy")?;
                let [name, name_len] = put(host, 16, b"x-added");
                let [value, value_len] = put(host, 64, b"by the guest");
                call(host, "proxy_add_header_map_value", [0, name, name_len, value, value_len])?;
                slots[0] = 0;
            }
            "proxy_on_response_headers" => slots[0] = 0,
            "proxy_on_done" => slots[0] = 1,
            _ => {}
        }
        Ok(())
    }
}

fn read(host: &mut dyn Host, name: &[u8], expected: &[u8]) -> Result<(), Stop> {
    let [name, name_len] = put(host, 16, name);
    call(host, "proxy_get_header_map_value", [0, name, name_len, 0, 4])?;
    let memory = host.memory();
    let number = |at: usize| u32::from_le_bytes([memory[at], memory[at + 1], memory[at + 2], memory[at + 3]]) as usize;
    let (at, len) = (number(0), number(4));
    assert_eq!(&memory[at..at + len], expected);
    Ok(())
}

fn put(host: &mut dyn Host, at: usize, bytes: &[u8]) -> [u64; 2] {
    host.memory()[at..at + bytes.len()].copy_from_slice(bytes);
    [at as u64, bytes.len() as u64]
}

fn call(host: &mut dyn Host, name: &str, mut slots: [u64; 5]) -> Result<(), Stop> {
    host.import("env", name, &mut slots)?;
    assert_eq!(slots[0], 0, "{name}");
    Ok(())
}

pub(crate) struct Lives {
    worker: Worker,
    links: Arc<[Link]>,
    request: Vec<(Bytes, Bytes)>,
    response: Vec<(Bytes, Bytes)>,
}

impl Lives {
    pub(crate) fn new() -> Self {
        let engine = NativeEngine::new().with_guest("life", || Life { next: Cell::new(65536) });
        let (worker, links) = worker(engine, wat::parse_str(include_str!("life.wat")).unwrap(), 1);
        let response =
            [(":status", "200"), ("content-type", "text/html"), ("content-length", "5"), ("server", "origin")];
        let shared = |(name, value): (&str, &str)| (Bytes::from(name.to_owned()), Bytes::from(value.to_owned()));
        Lives { worker, links, request: headers(), response: response.map(shared).into() }
    }

    /// One request from its headers to its end.
    pub(crate) fn live(&mut self) {
        let worker = &mut self.worker;
        let request = filled(worker.empty_headers(), &self.request);
        let stream = worker.open(Arc::clone(&self.links), request, []);
        worker.request_headers(stream, true);
        let passed = worker.pass_headers(stream, Direction::Request).map(HeaderList::len);
        assert_eq!(passed, Some(self.request.len() + 1));
        let response = filled(worker.empty_headers(), &self.response);
        worker.response_headers(stream, response, true);
        let passed = worker.pass_headers(stream, Direction::Response).map(HeaderList::len);
        assert_eq!(passed, Some(self.response.len()));
        worker.close(stream);
    }
}

fn filled(mut list: HeaderList, headers: &[(Bytes, Bytes)]) -> HeaderList {
    for (name, value) in headers {
        list.push_unchecked(name.clone(), value.clone());
    }
    list
}
