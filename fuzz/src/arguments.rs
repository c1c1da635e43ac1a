//! Arguments of host calls: mostly such that the call does something, now and then such that it cannot.

use chassis_abi::{HeaderList, Param, Row};
use chassis_engine_api::Stop;
use chassis_engine_api::native::Host;

use crate::input::Input;
use crate::world::END;

/// Return slots begin here, bytes that are given to the host there.
const SLOTS: u32 = 0x100;
const DATA: u32 = 0x1000;
const SLOT: u64 = SLOTS as u64;
/// Vectors for `fd_write` and the like.
const VECTORS: u32 = 0x800;

/// Pointers and lengths that do not fit the memory, and such that just do.
const EDGES: [(u32, u32); 9] = [
    (END - 1, 1),
    (END, 0),
    (0, 0),
    (END - 1, 2),
    (END, 1),
    (END + 1, 0),
    (0xffff_fff0, 0x20),
    (0, u32::MAX),
    (0x7fff_ffff, 0x8000_0000),
];

/// What the guest has been given: numbers of queues, metrics, callouts, and a cas.
#[derive(Debug, Default)]
pub(crate) struct Known {
    queues: Vec<u32>,
    metrics: Vec<u32>,
    calls: Vec<u32>,
    cas: u32,
}

impl Known {
    /// Makes a queue with an item, metrics, a shared value and callouts.
    pub(crate) fn furnish(&mut self, host: &mut dyn Host) -> Result<(), Stop> {
        let headers = map("proxy_http_call", "headers", 0);
        for (name, before, texts, behind) in [
            ("proxy_register_shared_queue", &[][..], &[&b"q1"[..]][..], &[SLOT][..]),
            ("proxy_enqueue_shared_queue", &[1], &[b"item"], &[]),
            ("proxy_define_metric", &[0], &[b"m1"], &[SLOT]),
            ("proxy_define_metric", &[1], &[b"m2"], &[SLOT]),
            ("proxy_set_shared_data", &[], &[b"k1", b"value"], &[0]),
            ("proxy_http_call", &[], &[b"side", &headers, b"", b""], &[0, SLOT]),
            ("proxy_grpc_call", &[], &[b"side", b"a.B", b"C", b"", b""], &[0, SLOT]),
            ("proxy_grpc_stream", &[], &[b"side", b"a.B", b"C", b""], &[SLOT]),
            ("proxy_grpc_stream", &[], &[b"side", b"a.B", b"C", b""], &[SLOT]),
        ] {
            let mut args = before.to_vec();
            for (i, text) in texts.iter().enumerate() {
                let at = DATA as usize + 0x100 * i;
                host.memory()[at..at + text.len()].copy_from_slice(text);
                args.extend([at as u64, text.len() as u64]);
            }
            args.extend(behind);
            let mut slots = [0; 16];
            slots[..args.len()].copy_from_slice(&args);
            let given = slots;
            host.import("env", name, &mut slots)?;
            assert_eq!(slots[0], 0, "{name}");
            let row = Row::find("env", name).expect("it is in the table");
            self.learn(row, &given, host.memory());
        }
        Ok(())
    }

    /// Arguments of a call, with what they point to in the memory.
    pub(crate) fn arguments(&self, row: &Row, input: &mut Input<'_>, memory: &mut [u8]) -> [u64; 16] {
        let mut slots = [0; 16];
        let (mut at, mut data, mut out) = (0, DATA, SLOTS);
        for param in row.params {
            match param {
                Param::Int(name) => slots[at] = u64::from(self.int(row.name, name, input, memory)),
                Param::Long(_) => slots[at] = long(input),
                Param::Out(_) => {
                    let edge = [out, out, out, out + 1, SLOTS, END - 4, END - 3, u32::MAX];
                    slots[at] = u64::from(if is_odd(input) { input.one_of(&edge) } else { out });
                    out += 0x40;
                }
                Param::Bytes(_) | Param::Pairs(_) if is_odd(input) => {
                    let (pointer, len) = input.one_of(&EDGES);
                    (slots[at], slots[at + 1]) = (pointer.into(), len.into());
                    at += 1;
                }
                Param::Bytes(name) | Param::Pairs(name) => {
                    let bytes = bytes(row.name, name, matches!(param, Param::Pairs(_)), input);
                    memory[data as usize..][..bytes.len()].copy_from_slice(&bytes);
                    (slots[at], slots[at + 1]) = (data.into(), bytes.len() as u64);
                    data += 0x1000;
                    at += 1;
                }
            }
            at += 1;
        }
        slots
    }

    /// Remembers the number that a call has given.
    pub(crate) fn learn(&mut self, row: &Row, given: &[u64; 16], memory: &[u8]) {
        let numbers = match row.name {
            "proxy_register_shared_queue" | "proxy_resolve_shared_queue" => &mut self.queues,
            "proxy_define_metric" => &mut self.metrics,
            "proxy_http_call" | "proxy_grpc_call" | "proxy_grpc_stream" => &mut self.calls,
            "proxy_get_shared_data" => {
                self.cas = number(memory, given[4]);
                return;
            }
            _ => return,
        };
        // The last parameter is where the number went.
        numbers.push(number(memory, given[row.sig.params.len() - 1]));
        if numbers.len() > 8 {
            numbers.remove(0);
        }
    }

    fn int(&self, function: &str, param: &str, input: &mut Input<'_>, memory: &mut [u8]) -> u32 {
        if is_odd(input) {
            return input.one_of(&[0, 1, 2, 9, 255, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
        }
        let choice = u32::from(input.byte());
        let of = |numbers: &[u32]| numbers.get(choice as usize % numbers.len().max(1)).copied().unwrap_or(choice);
        match (function, param) {
            (_, "queue_id") => of(&self.queues),
            (_, "metric_id") => of(&self.metrics),
            (_, "call_id") => of(&self.calls),
            (_, "cas") => [0, 0, self.cas, choice][choice as usize % 4],
            (_, "level") => choice % 6,
            (_, "map") => choice % 8,
            (_, "buffer") => choice % 9,
            (_, "stream") => choice % 4,
            (_, "metric_type") => choice % 3,
            (_, "context") => choice % 6,
            ("proxy_send_local_response", "status") => [200, 204, 302, 403, 500, 599, 99, 600][choice as usize % 8],
            (_, "grpc_status") => [u32::MAX, 0, 13, 16, 17, 999][choice as usize % 6],
            (_, "timeout") => [0, 1, 100, 5000, 0x7fff_ffff, 0x8000_0000][choice as usize % 6],
            (_, "max_size" | "size") => [u32::MAX, 5, 100, choice][choice as usize % 4],
            (_, "start") => [0, 1, 5, 11, 100, u32::MAX][choice as usize % 6],
            (_, "fd") => choice % 4,
            (_, "id") => choice % 3,
            (_, "iovs") => {
                for (i, vector) in [(DATA, 3), (DATA + 8, choice), (DATA, 0)].into_iter().enumerate() {
                    let at = VECTORS as usize + 8 * i;
                    memory[at..at + 4].copy_from_slice(&u32::to_le_bytes(vector.0));
                    memory[at + 4..at + 8].copy_from_slice(&u32::to_le_bytes(vector.1));
                }
                memory[DATA as usize..][..4].copy_from_slice(b"ab\nc");
                VECTORS
            }
            (_, "iovs_len" | "count") => choice % 4,
            (_, "argv" | "environ") => SLOTS,
            (_, "argv_buf" | "environ_buf" | "buf") => DATA,
            _ => choice,
        }
    }
}

/// Now and then.
fn is_odd(input: &mut Input<'_>) -> bool {
    input.byte() % 16 == 15
}

fn long(input: &mut Input<'_>) -> u64 {
    match input.byte() % 8 {
        0..=3 => 1,
        4 => 0,
        5 => u64::MAX,
        6 => i64::MIN as u64,
        _ => input.long(),
    }
}

fn bytes(function: &str, param: &str, is_map: bool, input: &mut Input<'_>) -> Vec<u8> {
    // Bytes of the input itself, one time in four.
    let choice = input.byte();
    if choice >= 0xc0 {
        return input.bytes().to_vec();
    }
    if is_map {
        return map(function, param, choice);
    }
    let choices: &[&[u8]] = match (function, param) {
        ("proxy_call_foreign_function", "name") => &[
            b"compress",
            b"uncompress",
            b"clear_route_cache",
            b"get_log_level",
            b"set_envoy_filter_state",
            b"shared_data_delete",
            b"shared_data_keys",
            b"none",
        ],
        (_, "arguments") => &[
            b"k1",
            b"",
            b"\x0a\x01a\x12\x01b\x18\x01",
            // "abc" in the zlib format.
            b"\x78\x9c\x4b\x4c\x4a\x06\x00\x02\x4d\x01\x27",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
        (_, "path") => &[
            b"plugin_name",
            b"request\0path",
            b"request\0headers\0x-a\0",
            b"response\0code",
            b"new\0property",
            b"other",
            b"metadata",
            b"ngx\0var",
        ],
        (_, "key") => &[b"k1", b"k2", b"k3", b""],
        (_, "upstream") => &[b"side", b"side", b"\x0a\x06\x0a\x04side", b"none"],
        (_, "service") => &[b"a.B", b"below/a.B"],
        (_, "method") => &[b"C"],
        (_, "vm_id") => &[b"", b"vm", b"other"],
        ("proxy_define_metric", "name") => &[b"m1", b"m2", b"m3", b"m4", b"m5\n{\"}"],
        (_, "name") if function.contains("queue") => &[b"q1", b"q2", b"q3"],
        (_, "name") => &[b"x-a", b"x-b", b"X-A", b"t-a", b":path", b":status", b":method", b"content-length"],
        _ => &[b"value", b"", b"200", b"/other", b"POST", b"12345678901234567890123456789012", b"a\nb"],
    };
    choices[usize::from(choice) % choices.len()].to_vec()
}

/// A serialised map that suits a function.
fn map(function: &str, param: &str, choice: u8) -> Vec<u8> {
    let list: HeaderList = match (function, choice % 4) {
        (_, 3) => return vec![0],
        ("proxy_http_call", 0 | 1) if param == "headers" => {
            [(":method", "GET"), (":path", "/"), (":authority", "a"), ("x-b", "1")].into_iter().collect()
        }
        ("proxy_set_header_map_pairs", 0) => {
            let pseudo = [(":method", "GET"), (":path", "/new"), (":authority", "a"), (":scheme", "http")];
            pseudo.into_iter().collect()
        }
        ("proxy_set_header_map_pairs", 1) => [(":status", "201"), ("r-b", "1")].into_iter().collect(),
        _ => [("x-b", "1"), ("x-b", "2")].into_iter().collect(),
    };
    list.encode()
}

fn number(memory: &[u8], at: u64) -> u32 {
    let at = at as usize;
    memory.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
}
