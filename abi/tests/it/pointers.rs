//! Bad memory: answered with 6 (WASI: 21), before any effect.

use chassis_abi::{Answer, Callback, Param, Row, Status, TABLE};
use chassis_engine_api::Stop;

use crate::rig::{Allocator, DATA, END, HEAP, Rig, Wasm, row};

/// Pointers and lengths that do not fit the memory.
const BAD: [(u32, u32); 7] = [
    (END - 1, 2),
    (END, 1),
    (END + 1, 0),
    (END + 1, 1),
    (0xffff_fff0, 0x20),
    (0, u32::MAX),
    (0x7fff_ffff, 0x8000_0000),
];

/// Pointers and lengths that just do.
const EDGE: [(u32, u32); 3] = [(END - 1, 1), (END, 0), (0, 0)];

/// A parameter's place among the Wasm parameters.
fn places(row: &Row) -> Vec<(usize, Param)> {
    let mut at = 0;
    let mut places = Vec::new();
    for param in row.params {
        places.push((at, *param));
        at += if matches!(param, Param::Bytes(_) | Param::Pairs(_)) { 2 } else { 1 };
    }
    places
}

/// Arguments with which a call does something where it can.
fn good(row: &Row, wasm: &mut Wasm<'_>) -> Vec<u64> {
    let mut args = vec![0_u64; row.sig.params.len()];
    let mut data = DATA;
    let mut slot = 0;
    for (at, param) in places(row) {
        match param {
            Param::Int(name) => args[at] = int(row.name, name),
            Param::Long(_) => args[at] = 1,
            Param::Bytes(name) => {
                let bytes: &[u8] = if name == "path" { b"new\0property" } else { b"x-a" };
                wasm.put(data, bytes);
                (args[at], args[at + 1]) = (u64::from(data), bytes.len() as u64);
                data += 0x100;
            }
            Param::Pairs(_) => (args[at], args[at + 1]) = (0, 0),
            Param::Out(_) => {
                args[at] = slot;
                slot += 64;
            }
        }
    }
    args
}

fn int(function: &str, param: &str) -> u64 {
    match (function, param) {
        ("proxy_send_local_response", "status") => 403,
        ("proxy_set_effective_context", _) => 3,
        ("proxy_set_header_map_pairs", _) => 1,
        ("proxy_get_buffer_bytes", "max_size") => 5,
        ("proxy_log", _) => 2,
        _ => 0,
    }
}

/// How many bytes a return slot has.
fn width(row: &Row, name: &str) -> u32 {
    match (row.name, name) {
        ("proxy_get_current_time_nanoseconds" | "proxy_get_metric" | "clock_time_get" | "clock_res_get", _) => 8,
        ("fd_fdstat_get", _) => 24,
        ("fd_filestat_get", _) => 64,
        _ => 4,
    }
}

/// The functions of WASI that touch memory here.
const WASI: [&str; 9] = [
    "args_sizes_get",
    "environ_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "fd_fdstat_get",
    "fd_filestat_get",
    "fd_read",
    "fd_write",
    "poll_oneoff",
];

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().copied().filter(|row| row.answer == Answer::Status || WASI.contains(&row.name))
}

fn refused(row: &Row) -> u32 {
    if row.answer == Answer::Status { Status::InvalidMemoryAccess as u32 } else { 21 }
}

/// Calls with one argument changed, and asserts that it is refused without any trace.
fn is_refused(rig: &mut Rig, row: &'static Row, change: impl Fn(&mut Vec<u64>) + Send + 'static) {
    let before = rig.snapshot();
    let (status, args) = rig.request(move |wasm| {
        let mut args = good(row, wasm);
        change(&mut args);
        let memory = wasm.host.memory().to_vec();
        let status = wasm.import(row.modules[0], row.name, &args).unwrap();
        assert!(*wasm.host.memory() == *memory, "{} {args:x?} wrote", row.name);
        (status, args)
    });
    assert_eq!(status, refused(row), "{} {args:x?}", row.name);
    assert_eq!(rig.snapshot(), before, "{} {args:x?}", row.name);
    assert!(rig.shared.asked.lock().unwrap().is_empty(), "{} {args:x?} allocated", row.name);
}

#[test]
fn every_bad_slice_is_refused_without_an_effect() {
    let mut rig = Rig::new();
    let mut tried = 0;
    for row in rows() {
        for (at, param) in places(row) {
            if !matches!(param, Param::Bytes(_) | Param::Pairs(_)) {
                continue;
            }
            for (pointer, len) in BAD {
                is_refused(&mut rig, row, move |args| (args[at], args[at + 1]) = (pointer.into(), len.into()));
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn every_bad_return_slot_is_refused_without_an_effect() {
    let mut rig = Rig::new();
    let mut tried = 0;
    for row in rows() {
        for (at, param) in places(row) {
            let Param::Out(name) = param else { continue };
            for pointer in [END - width(row, name) + 1, END - 1, END, END + 1, 0xffff_fffd, u32::MAX] {
                is_refused(&mut rig, row, move |args| args[at] = pointer.into());
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn edges_and_overlaps_are_fine() {
    for row in rows() {
        let mut rig = Rig::new();
        rig.allocator(Allocator::Answers(HEAP));
        for (at, param) in places(row) {
            let changes: Vec<(u32, Option<u32>)> = match param {
                Param::Bytes(_) | Param::Pairs(_) => EDGE.map(|(pointer, len)| (pointer, Some(len))).to_vec(),
                Param::Out(name) => {
                    let last = END - width(row, name);
                    // Odd, on another slot, inside a key, inside what the allocator gives.
                    [last, 1, 0, 64, DATA, DATA + 1, HEAP, HEAP + 1].map(|pointer| (pointer, None)).to_vec()
                }
                _ => continue,
            };
            for (pointer, len) in changes {
                let status = rig.request(move |wasm| {
                    let mut args = good(row, wasm);
                    args[at] = pointer.into();
                    if let Some(len) = len {
                        args[at + 1] = len.into();
                    }
                    wasm.import(row.modules[0], row.name, &args).unwrap()
                });
                let fine = row.answer == Answer::Errno || row.statuses.iter().any(|listed| *listed as u32 == status);
                assert!(fine, "{} {pointer:x} {len:?}: {status}", row.name);
            }
        }
    }
}

/// The calls that give something that the allocator has to make room for.
fn giving() -> Vec<(&'static str, Vec<u32>)> {
    vec![
        ("proxy_get_header_map_value", vec![0, DATA, 7, 0, 4]),
        ("proxy_get_header_map_pairs", vec![0, 0, 4]),
        ("proxy_get_buffer_bytes", vec![0, 0, 11, 0, 4]),
        ("proxy_get_property", vec![DATA + 16, 11, 0, 4]),
    ]
}

fn give(wasm: &mut Wasm<'_>, name: &str, args: &[u32]) -> Result<u32, Stop> {
    wasm.put(DATA, b":method");
    wasm.put(DATA + 16, b"plugin_name");
    wasm.put(0, &[0xee; 8]);
    wasm.env(name, args)
}

#[test]
fn what_the_allocator_may_do_wrong() {
    for (name, args) in giving() {
        for (behaviour, status) in [
            (Allocator::Good, 0),
            (Allocator::Grows, 0),
            (Allocator::Answers(8), 0),
            (Allocator::Calls("env", "proxy_log"), 0),
            (Allocator::Calls("wasi_snapshot_preview1", "clock_time_get"), 0),
            (Allocator::Calls("wasi_snapshot_preview1", "poll_oneoff"), 0),
            (Allocator::Answers(0), 6),
            (Allocator::Answers(END - 1), 6),
            (Allocator::Answers(END), 6),
            (Allocator::Answers(u32::MAX), 6),
        ] {
            let mut rig = Rig::new();
            rig.allocator(behaviour);
            let args = args.clone();
            let (seen, slots) = rig.request(move |wasm| (give(wasm, name, &args).unwrap(), wasm.u64_at(0)));
            assert_eq!(seen, status, "{name} {behaviour:?}");
            assert_eq!(slots == 0xeeee_eeee_eeee_eeee, status != 0, "{name} {behaviour:?}: the slots");
            assert_eq!(rig.shared.asked.lock().unwrap().len(), 1, "{name} {behaviour:?}");
        }
        let mut rig = Rig::new();
        let mut ends = |behaviour| {
            rig.allocator(behaviour);
            let args = args.clone();
            let job = move |wasm: &mut Wasm<'_>| give(wasm, name, &args);
            rig.run(Callback::RequestHeaders, 3, job).unwrap_err().to_string()
        };
        assert_eq!(ends(Allocator::Traps), "trap: unreachable");
        assert_eq!(ends(Allocator::Exits), "the guest exited with code 7");
        assert_eq!(
            ends(Allocator::Calls("env", "proxy_get_header_map_pairs")),
            "proxy_get_header_map_pairs may not be called in the allocator"
        );
    }
}

#[test]
fn nothing_is_allocated_for_no_bytes() {
    let mut rig = Rig::new();
    rig.allocator(Allocator::Traps);
    rig.exchange().request.trailers.remove(b"t-a").unwrap();
    rig.request(|wasm| {
        for (name, args) in [
            ("proxy_get_header_map_pairs", vec![1, 0, 4]),
            ("proxy_get_buffer_bytes", vec![0, 11, 5, 0, 4]),
            ("proxy_get_buffer_bytes", vec![0, 0, 0, 0, 4]),
            ("proxy_get_configuration", vec![0, 4]),
        ] {
            wasm.put(0, &[0xee; 8]);
            assert_eq!((wasm.env(name, &args).unwrap(), wasm.u64_at(0)), (0, 0), "{name}");
        }
    });
}

#[test]
fn what_is_given_is_written_after_the_allocator_has_moved_the_memory() {
    let mut rig = Rig::new();
    rig.allocator(Allocator::Grows);
    rig.request(|wasm| {
        assert_eq!(wasm.buffer(0, 6, 100), Ok(b"world".to_vec()));
        assert_eq!(wasm.u32_at(0), END);
    });
}

#[test]
fn a_slot_that_overlaps_what_was_given_is_written_last() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        assert_eq!(wasm.env("proxy_get_buffer_bytes", &[0, 0, 11, HEAP, HEAP + 4]).unwrap(), 0);
        assert_eq!((wasm.u32_at(HEAP), wasm.u32_at(HEAP + 4)), (HEAP, 11));
        assert_eq!(wasm.host.memory()[HEAP as usize + 8..][..3], *b"rld");
        assert_eq!(wasm.env("proxy_get_buffer_bytes", &[0, 0, 11, 8, 8]).unwrap(), 0);
        assert_eq!(wasm.u32_at(8), 11);
    });
}

#[test]
fn a_module_with_a_memory_of_no_pages_gets_6_for_every_byte() {
    let wat = crate::rig::module(crate::rig::V021, false)
        .replace("(memory (export \"memory\") 2 8)", "(memory (export \"memory\") 0)");
    let mut rig = Rig::of(&wat);
    rig.request(|wasm| {
        assert_eq!(wasm.env("proxy_log", &[2, 0, 1]).unwrap(), 6);
        assert_eq!(wasm.env("proxy_log", &[2, 0, 0]).unwrap(), 0);
        assert_eq!(wasm.env("proxy_get_log_level", &[0]).unwrap(), 6);
        assert_eq!(wasm.wasi("random_get", &[0, 1]).unwrap(), 21);
        assert_eq!(wasm.wasi("random_get", &[0, 0]).unwrap(), 0);
    });
    assert_eq!(row("proxy_log").sig.params.len(), 3);
}
