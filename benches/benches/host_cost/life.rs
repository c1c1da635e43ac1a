//! A whole request through a worker on the native engine: what the host itself costs.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{Direction, HeaderList};
use chassis_engine_api::Stop;
use chassis_engine_api::native::{Guest, Host, NativeEngine};
use chassis_host::{Link, Worker};

use crate::through_host;

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
                read(host, b"x-request-id", crate::VALUE)?;
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
    pub(crate) fn new(guest: PathBuf) -> Self {
        let engine = NativeEngine::new().with_guest("life", || Life { next: Cell::new(65536) });
        let (worker, links) = through_host::worker(engine, guest);
        let response =
            [(":status", "200"), ("content-type", "text/html"), ("content-length", "5"), ("server", "origin")];
        let shared = |(name, value): (&str, &str)| (Bytes::from(name.to_owned()), Bytes::from(value.to_owned()));
        Lives { worker, links, request: crate::headers(), response: response.map(shared).into() }
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
