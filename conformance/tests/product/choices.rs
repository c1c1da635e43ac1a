//! What each parameter can be: the first choice is a good one, the others are good, at an edge, or bad.

use chassis_abi::HeaderList;

use crate::memory::{END, ROOM, SLOTS, VECTORS};
use crate::scenes::{CONNECTION, DEAD, OTHER_ROOT, OTHER_STREAM, ROOT, STREAM};

/// What can be no number of a kind.
const BEYOND: [u64; 2] = [0x7fff_ffff, 0xffff_ffff];

/// The numbers of callouts that there are: an HTTP call, a gRPC call, a gRPC stream, and a stream that was cancelled.
pub(crate) const CALLOUTS: [u64; 4] = [4, 9, 14, 18];

/// Numbers of 32 bits.
pub(crate) fn ints(function: &str, param: &str) -> Vec<u64> {
    let kinds = |first: u64, last: u64| {
        let mut kinds = vec![first];
        kinds.extend((0..=last + 1).filter(|kind| *kind != first).chain(BEYOND));
        kinds
    };
    let contexts = [STREAM, ROOT, OTHER_ROOT, OTHER_STREAM, CONNECTION, DEAD, 0, 7].map(u64::from);
    match (function, param) {
        (_, "level") => kinds(2, 5),
        (_, "map") => kinds(0, 7),
        (_, "buffer") => kinds(0, 8),
        (_, "stream") => kinds(0, 3),
        (_, "metric_type") => kinds(0, 2),
        (_, "context") => [&contexts[..], &BEYOND[1..]].concat(),
        (_, "queue_id") => vec![1, 2, 0, 99, 0xffff_ffff],
        (_, "metric_id") => vec![1, 2, 3, 0, 99, 0xffff_ffff],
        (_, "call_id") => vec![CALLOUTS[2], CALLOUTS[0], CALLOUTS[1], CALLOUTS[3], 0, 3, 0xffff_ffff],
        ("proxy_send_local_response", "status") => vec![403, 200, 204, 599, 0, 99, 100, 199, 600, 1000, 65_736],
        (_, "grpc_status") => vec![0xffff_ffff, 0, 16, 17, 999],
        (_, "timeout") => vec![100, 0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff],
        (_, "period") => vec![1000, 0, 1, 0xffff_ffff],
        (_, "start") => vec![0, 5, 11, 12, 0xffff_ffff],
        (_, "max_size" | "size") => vec![5, 0, 100, 0xffff_ffff],
        (_, "cas") => vec![0, 1, 999, 0xffff_ffff],
        (_, "end_of_stream") => vec![0, 1, 7],
        (_, "fd") => vec![1, 2, 0, 3, 0xffff_ffff],
        (_, "id") => vec![0, 1, 2, 0xffff_ffff],
        (_, "iovs") => vec![VECTORS.into(), (END - 15).into(), (END - 16).into(), 0xffff_fff0],
        (_, "iovs_len" | "count") => vec![2, 0, 1, 1024, 0x2000_0000, 0xffff_ffff],
        ("random_get", "buf_len") => vec![16, 0, 65_536, 65_537, 0xffff_ffff],
        (_, "argv" | "environ") => vec![SLOTS.into(), (END - 1).into(), 0xffff_ffff],
        (_, "argv_buf" | "environ_buf" | "buf") => vec![ROOM.into(), (END - 1).into(), 0xffff_ffff],
        _ => vec![0, 1, 0xffff_ffff],
    }
}

/// Numbers of 64 bits.
pub(crate) fn longs() -> Vec<u64> {
    vec![1, 0, u64::MAX, 1 << 63]
}

/// Bytes that a guest gives. Where room runs out, zeros are.
pub(crate) fn texts(function: &str, param: &str) -> Vec<&'static [u8]> {
    match (function, param) {
        ("proxy_call_foreign_function", "name") => vec![
            b"echo",
            b"compress",
            b"uncompress",
            b"clear_route_cache",
            b"get_log_level",
            b"set_envoy_filter_state",
            b"shared_data_delete",
            b"shared_data_keys",
            b"bad argument",
            b"no form",
            b"fails",
            b"none",
            b"",
        ],
        (_, "arguments") => vec![b"k1", b"", b"\x0a\x01a\x12\x01b"],
        ("proxy_get_property", "path") => {
            vec![
                b"plugin_name",
                b"plugin_root_id\0",
                b"request\0path",
                b"broken",
                b"none",
                b"",
                b"\0\0",
                b"a\0..\0b",
                b"\xff",
            ]
        }
        (_, "path") => vec![b"new\0property", b"other", b"plugin_name", b"request\0path", b"", b"\0\0", b"\xff"],
        (_, "key") => vec![b"k1", b"new", b""],
        (_, "upstream") => {
            vec![b"side", b"\x0a\x06\x0a\x04side", b"", b"none", b"http://side", b"side:80", b"a@side", b"\xff"]
        }
        (_, "service") => vec![b"a.B", b"below/a.B", b"", b"a b", b"/a"],
        (_, "method") => vec![b"C", b"", b"C/D"],
        (_, "vm_id") => vec![b"", b"vm", b"other"],
        ("proxy_register_shared_queue" | "proxy_resolve_shared_queue", "name") => vec![b"q1", b"q2", b"new", b""],
        ("proxy_define_metric", "name") => vec![b"c1", b"g1", b"new", b"", b"a\n\"{}\""],
        (_, "name") => {
            vec![b"x-a", b"X-A", b"x-new", b"", b":path", b":new", b"content-length", b"te", b"a b", b"a\r\nb", b"\0"]
        }
        (_, "value") if function.contains("header_map") => vec![b"1", b"", b"/other", b"a\nb", b"\0", b"\xff", b" a "],
        (_, "details") => vec![b"", b"details", b"a\r\nb"],
        _ => vec![b"value", b""],
    }
}

/// Serialised maps.
pub(crate) fn maps(function: &str, param: &str) -> Vec<Vec<u8>> {
    let good: &[(&str, &str)] = match (function, param) {
        ("proxy_http_call", "headers") => &[(":method", "GET"), (":path", "/"), (":authority", "a"), ("x-b", "1")],
        ("proxy_set_header_map_pairs", _) => {
            &[(":method", "GET"), (":path", "/new"), (":authority", "a"), (":scheme", "http")]
        }
        _ => &[("x-b", "1"), ("x-b", "2")],
    };
    let one = list(&[("x-c", "1")]);
    let lies = |at: usize, number: u32| {
        let mut map = one.clone();
        map[at..at + 4].copy_from_slice(&number.to_le_bytes());
        map
    };
    let mut without_nul = one.clone();
    *without_nul.last_mut().unwrap() = b'x';
    vec![
        list(good),
        Vec::new(),
        vec![0],
        one.clone(),
        list(&[("t-b", "1")]),
        list(&[(":status", "200")]),
        list(&[("a b", "1")]),
        list(&[("x-c", "a\nb")]),
        lies(0, 2),
        lies(0, 0x2000_0000),
        lies(0, 1025),
        lies(4, 0xffff_ffff),
        lies(8, 0),
        without_nul,
        [&one[..], b"x"].concat(),
        one[..5].to_vec(),
    ]
}

fn list(entries: &[(&str, &str)]) -> Vec<u8> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<HeaderList>().encode()
}
