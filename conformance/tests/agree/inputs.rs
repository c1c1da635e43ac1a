//! What every plugin is given on every engine.

use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{HeaderList, LogLevel};
use chassis_conformance::drive::Message;

/// One way to start and call a plugin.
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) request: Message,
    /// What the upstream answers.
    pub(crate) upstream: Message,
    pub(crate) config: Bytes,
    pub(crate) vm_config: Bytes,
    pub(crate) properties: &'static [(&'static str, &'static str)],
    /// Into pieces of how many bytes bodies are cut.
    pub(crate) chunk: usize,
    pub(crate) ticks: Option<u32>,
    pub(crate) pause_limit: Duration,
    pub(crate) memory_bytes: u64,
    pub(crate) level: LogLevel,
    /// How often the same VM gets the request.
    pub(crate) repeat: usize,
    /// The requests that it gets after that.
    pub(crate) then: Vec<Message>,
}

/// `GET /` without anything, answered with 200 without anything.
pub(crate) fn input(name: &'static str) -> Input {
    let request = [(":authority", "localhost"), (":path", "/"), (":method", "GET"), (":scheme", "http")];
    Input {
        name,
        request: Message { headers: request.into_iter().collect(), ..Message::default() },
        upstream: Message { headers: [(":status", "200")].into_iter().collect(), ..Message::default() },
        config: Bytes::new(),
        vm_config: Bytes::new(),
        properties: &[],
        chunk: usize::MAX,
        ticks: None,
        pause_limit: Duration::from_secs(5),
        memory_bytes: 64 << 20,
        level: LogLevel::Trace,
        repeat: 1,
        then: Vec::new(),
    }
}

impl Input {
    /// How many requests it is.
    pub(crate) fn requests(&self) -> usize {
        self.repeat + self.then.len()
    }

    pub(crate) fn line(mut self, method: &str, path: &str) -> Self {
        self.request.headers.replace(b":method", method.as_bytes()).unwrap();
        self.request.headers.replace(b":path", path.as_bytes()).unwrap();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (headers, name) = (&mut self.request.headers, name.as_bytes());
        let put = if name.starts_with(b":") { HeaderList::replace } else { HeaderList::add };
        put(headers, name, value.as_ref()).unwrap();
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.request.body = Some(body.into());
        self
    }

    fn trailer(mut self, name: &str, value: &str) -> Self {
        let trailers = self.request.trailers.get_or_insert_default();
        trailers.add(name.as_bytes(), value.as_bytes()).unwrap();
        self
    }

    fn status(mut self, status: &str) -> Self {
        self.upstream.headers.replace(b":status", status.as_bytes()).unwrap();
        self
    }

    pub(crate) fn upstream_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.upstream.headers.add(name.as_bytes(), value.as_ref()).unwrap();
        self
    }

    pub(crate) fn upstream_body(mut self, body: impl Into<Bytes>) -> Self {
        self.upstream.body = Some(body.into());
        self
    }

    fn upstream_trailer(mut self, name: &str, value: &str) -> Self {
        let trailers = self.upstream.trailers.get_or_insert_default();
        trailers.add(name.as_bytes(), value.as_bytes()).unwrap();
        self
    }

    fn bodies(self, request: &'static str, response: &'static str) -> Self {
        self.body(request).upstream_body(response)
    }

    pub(crate) fn config(mut self, text: impl Into<Bytes>) -> Self {
        self.config = text.into();
        self
    }

    fn vm_config(mut self, text: impl Into<Bytes>) -> Self {
        self.vm_config = text.into();
        self
    }
}

pub(crate) const PRIME: &str = "a prime token";
pub(crate) const COMPOSITE: &str = "a composite token";
pub(crate) const LARGE_PRIME: &str = "a large prime token among many fields";
pub(crate) const TEXT: &str = "a configuration that some refuse";
pub(crate) const HEADERS: &str = "a configuration with headers in JSON";
pub(crate) const REWRITE: &str = "a configuration with a response in JSON";
pub(crate) const FAULT: &str = "a configuration with a fault in JSON";
pub(crate) const MIB: &str = "1 MiB in pieces";

const HIGH: &[u8] = &[0x80, 0xff, b'a', 0, 0xc3, 0xa4, 0xfe, b'\n'];

pub(crate) fn inputs() -> Vec<Input> {
    let mib: Bytes = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let many = |mut input: Input| {
        for i in 0..150 {
            input = input.header(&format!("x-{i}"), (i % 7).to_string());
        }
        input
    };
    vec![
        input("no body"),
        input("empty bodies").line("POST", "/").bodies("", ""),
        input("small bodies").line("PUT", "/a?b=c").bodies("banana", "ananas"),
        Input { chunk: 1, ..input("one byte at a time, rewritten").bodies("banana", "ananas").config("an=>na\n==>=") },
        Input { chunk: 64 << 10, ..input(MIB).body(mib.clone()).upstream_body(mib) },
        input("repeated fields")
            .header("token", "7")
            .header("token", "8")
            .header("x-echo", "1")
            .header("x-echo", "2")
            .header("X-ECHO", "1")
            .upstream_header("set-cookie", "a=1")
            .upstream_header("set-cookie", "b=2"),
        input("trailers without bodies").trailer("t", "1").trailer("t", "2").upstream_trailer("u", "3"),
        Input {
            chunk: 2,
            ..input("trailers after bodies in pieces")
                .bodies("banana", "ananas")
                .trailer("t", "1")
                .upstream_trailer("u", "1")
                .config("an=>na")
        },
        input("configured fields").config("x-added: one\nx-added: two\n\nx-empty:").vm_config("v"),
        input(TEXT).config("neither this nor that"),
        input("bytes above 0x7f").config(HIGH).vm_config(HIGH).body(HIGH),
        input("fields above 0x7f")
            .header("token", b"\xff\xfe")
            .header("x-echo", b"\xc3\xa4")
            .upstream_header("x", b"\x80"),
        input(PRIME).header("token", "32323").upstream_header("x-from", "upstream"),
        input(COMPOSITE).header("token", "323232"),
        many(input(LARGE_PRIME).header("token", "9999999999999999961")),
        input("a token that is no number, and a teapot").header("token", "abc").header("x-teapot", "yes").body("tea"),
        Input {
            properties: &[("request.path", "/other"), ("plugin_root_id", "root")],
            ..input("an odd request with properties")
                .line("OPTIONS", "*")
                .header(":authority", "example.org")
                .header("empty", "")
        },
        input("a failing upstream")
            .header("x-long", "v".repeat(60_000))
            .status("503")
            .upstream_header("x-long", "v".repeat(60_000)),
        input("no content").line("HEAD", "/").status("204"),
        Input { ticks: Some(3), ..input("ticks") },
        Input {
            pause_limit: Duration::from_millis(5),
            memory_bytes: 2 << 20,
            level: LogLevel::Warn,
            ..input("a short pause and little memory").body("x")
        },
        Input { memory_bytes: 64 << 10, ..input("too little memory") },
        Input { repeat: 3, ..input("repeated").bodies("x", "y") },
        input("a configuration of rules")
            .config("request set x-a: 1\nresponse add x-b: 2\nresponse remove x-c")
            .upstream_header("x-c", "3"),
        input(HEADERS).config(r#"{"headers": [{"name": "x-a", "value": "1"}]}"#).upstream_header("x-a", "0"),
        Input { chunk: 4, ..input(REWRITE).config(r#"{"status": 404, "body": "gone"}"#).bodies("banana", "ananas") },
        input(FAULT).config(r#"{"http_status": 503, "body": "broken", "percentage": 100}"#),
        Input {
            ticks: Some(1),
            repeat: 2,
            ..input("a configuration of wishes")
                .config("tick=10 shared queue metrics foreign=compress set_body set_maps")
                .bodies("banana", "ananas")
                .trailer("t", "1")
        },
        Input { repeat: 8, ..input("a share of faults").config(r#"{"http_status": 418, "percentage": 50}"#) },
    ]
}
