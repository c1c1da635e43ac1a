//! The combinations, made from the table of host functions.

use std::fmt;

use chassis_abi::{Answer, Param, Row, TABLE};

use crate::choices::{ints, longs, maps, texts};
use crate::guest::{Allocator, Call, is_imported};
use crate::memory::{Atlas, END, HEAP, SLOTS, ZEROS};
use crate::scenes::{OTHER_ROOT, SCENES, STREAM, Scene};

/// A call, and all that is around it.
#[derive(Debug, Clone)]
pub(crate) struct Combination {
    pub(crate) scene: Scene,
    pub(crate) allocator: Allocator,
    /// What the guest has called before, in a callback of its own, besides what it always has.
    pub(crate) before: Vec<Call>,
    /// Whether it is on a dark field of the board of scenes and inputs.
    pub(crate) is_dark: bool,
    /// The context that the guest chooses first.
    effective: Option<u32>,
    call: Call,
}

impl Combination {
    pub(crate) fn row(&self) -> &'static Row {
        TABLE[self.call.row]
    }

    /// The calls of the callback; the last one is what the combination is about.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let choose = self.effective.map(|context| call("proxy_set_effective_context", &[context.into()]));
        choose.into_iter().chain([self.call.clone()]).collect()
    }

    /// Whether the guest may be stopped by it.
    pub(crate) fn may_stop(&self) -> bool {
        self.allocator.may_stop() || self.scene.is_start() || self.row().name == "proc_exit"
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Combination { scene, allocator, before, effective, call, .. } = self;
        let (name, callback) = (TABLE[call.row].name, scene.callback.name());
        write!(f, "{name} {:x?} in {callback}, allocator {allocator:?}", call.args)?;
        if let Some(context) = effective {
            write!(f, ", as context {context}")?;
        }
        if !before.is_empty() {
            write!(f, ", after {} more calls", before.len())?;
        }
        Ok(())
    }
}

/// What a row is called with, before the scene is chosen.
#[derive(Clone)]
struct Input {
    args: Vec<u64>,
    allocator: Allocator,
    before: Vec<Call>,
    effective: Option<u32>,
}

/// All combinations: each input of each row in each scene.
pub(crate) fn combinations(atlas: &mut Atlas) -> Vec<Combination> {
    for text in [&b"k1"[..], b"q1", b"q2", b"c1", b"g1", b"h1", b"side", b"a.B", b"C", b"value"] {
        atlas.place(text);
    }
    atlas.place(&maps("proxy_http_call", "headers")[0]);
    let mut all = Vec::new();
    for (row, described) in TABLE.iter().enumerate().filter(|(_, row)| is_imported(row)) {
        let inputs = inputs(described, atlas);
        // What WASI answers does not depend on the callback.
        let is_in = |scene: &Scene| described.answer != Answer::Errno || scene.is_for_all();
        for (rank, scene) in SCENES.into_iter().filter(is_in).enumerate() {
            for (file, Input { mut args, allocator, before, effective }) in inputs.iter().cloned().enumerate() {
                let is_dark = (rank + file) % 2 == 0;
                at_home(described, scene, &mut args);
                let call = Call { row, args, repeat: None };
                all.push(Combination { scene, allocator, before, is_dark, effective, call });
            }
        }
    }
    all
}

/// Where a callback has another buffer or map than the first, the two change places: what is done to the first one is
/// done to what there is.
fn at_home(row: &Row, scene: Scene, args: &mut [u64]) {
    let home = match row.params.first() {
        Some(Param::Int("buffer")) => scene.buffer(),
        Some(Param::Int("map")) => scene.map(),
        _ => return,
    };
    if args[0] == 0 {
        args[0] = home;
    } else if args[0] == home {
        args[0] = 0;
    }
}

/// What a guest has always called before: it has shared data, queues with and without an item, a metric of each type and
/// callouts.
pub(crate) fn usual(atlas: &Atlas) -> Vec<Call> {
    let text = |text: &[u8]| atlas.known(text).map(u64::from);
    let bytes = |texts: &[&[u8]], behind: &[u64]| {
        let texts: Vec<u64> = texts.iter().flat_map(|bytes| text(bytes)).collect();
        [&texts[..], behind].concat()
    };
    let slot = u64::from(SLOTS);
    let headers = maps("proxy_http_call", "headers").remove(0);
    let define = |kind: u64, name: &[u8]| call("proxy_define_metric", &[&[kind][..], &text(name), &[slot]].concat());
    let http = [&text(b"side")[..], &text(&headers), &[0, 0, 0, 0, 0, slot]].concat();
    let grpc = bytes(&[b"side", b"a.B", b"C"], &[0, 0]);
    vec![
        call("proxy_set_shared_data", &bytes(&[b"k1", b"value"], &[0])),
        call("proxy_register_shared_queue", &bytes(&[b"q1"], &[slot])),
        call("proxy_register_shared_queue", &bytes(&[b"q2"], &[slot])),
        call("proxy_enqueue_shared_queue", &[&[1][..], &text(b"value")].concat()),
        define(0, b"c1"),
        define(1, b"g1"),
        define(2, b"h1"),
        call("proxy_http_call", &http),
        call("proxy_grpc_call", &[&grpc[..], &[0, 0, 0, slot]].concat()),
        call("proxy_grpc_stream", &[&grpc[..], &[slot]].concat()),
        call("proxy_grpc_stream", &[&grpc[..], &[slot]].concat()),
        call("proxy_grpc_cancel", &[18]),
    ]
}

fn call(name: &str, args: &[u64]) -> Call {
    let row = TABLE.iter().position(|row| row.name == name).unwrap();
    Call { row, args: args.to_vec(), repeat: None }
}

/// Where a parameter is among the Wasm parameters.
fn places(row: &Row) -> Vec<(usize, Param)> {
    let mut at = 0;
    let mut places = Vec::new();
    for param in row.params {
        places.push((at, *param));
        at += if matches!(param, Param::Bytes(_) | Param::Pairs(_)) { 2 } else { 1 };
    }
    places
}

fn inputs(row: &Row, atlas: &mut Atlas) -> Vec<Input> {
    let mut good =
        Input { args: vec![0; row.sig.params.len()], allocator: Allocator::Good, before: Vec::new(), effective: None };
    let mut changes: Vec<Vec<(usize, u64)>> = Vec::new();
    let mut slots = Vec::new();
    for (at, param) in places(row) {
        let all: Vec<Vec<(usize, u64)>> = match param {
            Param::Int(name) => ints(row.name, name).into_iter().map(|number| vec![(at, number)]).collect(),
            Param::Long(_) => longs().into_iter().map(|number| vec![(at, number)]).collect(),
            Param::Out(name) => {
                let slot = SLOTS + 0x40 * slots.len() as u32;
                slots.push(at);
                of_slot(slot, width(row.name, name)).into_iter().map(|pointer| vec![(at, pointer.into())]).collect()
            }
            Param::Bytes(name) => {
                let texts = texts(row.name, name);
                slices(at, texts.into_iter().map(|text| atlas.place(text)))
            }
            Param::Pairs(name) => {
                let maps = maps(row.name, name);
                slices(at, maps.iter().map(|map| atlas.place(map)))
            }
        };
        for (at, value) in &all[0] {
            good.args[*at] = *value;
        }
        changes.extend(all.into_iter().skip(1));
    }
    let with = |input: &Input, change: &[(usize, u64)]| {
        let mut input = input.clone();
        for (at, value) in change {
            input.args[*at] = *value;
        }
        input
    };
    let mut inputs = vec![good.clone()];
    inputs.extend(changes.iter().map(|change| with(&good, change)));
    // The same as another stream of the plugin and as another plugin, as what is about streams is about them then.
    for context in [STREAM, OTHER_ROOT].into_iter().filter(|_| row.answer == Answer::Status) {
        inputs.push(Input { effective: Some(context), ..good.clone() });
    }
    // What is given goes where the allocator says; slots may lie in it, and on each other.
    if gives(row) {
        let [.., data, size] = [&[0][..], &slots].concat()[..] else { return inputs };
        let overlaps = [vec![], vec![(data, u64::from(HEAP) + 1)], vec![(size, good.args[data])]];
        for allocator in Allocator::ALL {
            for overlap in &overlaps {
                let mut input = with(&good, overlap);
                input.allocator = allocator;
                inputs.push(input);
            }
        }
    }
    inputs.extend(special(row, &good));
    inputs
}

/// Whether the allocator has to make room for what a function answers.
fn gives(row: &Row) -> bool {
    row.params.contains(&Param::Out("data"))
}

/// A slice's good and other texts, pointers at the memory's edges, and more than there is room for.
fn slices(at: usize, texts: impl Iterator<Item = (u32, u32)>) -> Vec<Vec<(usize, u64)>> {
    const EDGES: [(u32, u32); 7] = [
        (END - 1, 1),
        (END, 0),
        (END, 1),
        (END - 1, 2),
        (0xffff_fff0, 0x20),
        (0, 0xffff_ffff),
        (0x7fff_ffff, 0x8000_0000),
    ];
    let all = texts.chain(EDGES).chain([ZEROS]);
    all.map(|(pointer, len)| vec![(at, pointer.into()), (at + 1, len.into())]).collect()
}

/// A return slot: a good one, the last of the memory, one that ends behind it, odd ones, and others that mean something.
fn of_slot(good: u32, width: u32) -> [u32; 9] {
    let last = END - width;
    [good, last, last + 1, 0xffff_fffd, 0, good + 1, SLOTS, 0x1001, HEAP + 1]
}

/// How many bytes a return slot has.
fn width(function: &str, name: &str) -> u32 {
    match (function, name) {
        ("proxy_get_current_time_nanoseconds" | "proxy_get_metric" | "clock_time_get" | "clock_res_get", _) => 8,
        ("fd_fdstat_get", _) => 24,
        ("fd_filestat_get" | "path_filestat_get", _) => 64,
        _ => 4,
    }
}

/// What single changes do not reach: a quota that is used up, a value of another type.
fn special(row: &Row, good: &Input) -> Vec<Input> {
    let with = |args: &[(usize, u64)], before: Vec<Call>| {
        let mut input = Input { before, ..good.clone() };
        for (at, value) in args {
            input.args[*at] = *value;
        }
        input
    };
    let zeros = (u64::from(ZEROS.0), u64::from(ZEROS.1));
    match row.name {
        "proxy_set_property" => {
            let large = u64::from(END) - 0x1000;
            let set = Call { repeat: Some((8, 0x300)), ..call("proxy_set_property", &[0x300, 4, 0, large]) };
            let before = vec![call("proxy_set_effective_context", &[STREAM.into()]), set];
            vec![with(&[(2, 0), (3, large)], before)]
        }
        "proxy_define_metric" => {
            let define = call("proxy_define_metric", &[0, zeros.0, 3, SLOTS.into()]);
            vec![with(&[(1, zeros.0), (2, 4)], vec![define])]
        }
        "proxy_increment_metric" => vec![with(&[(0, 2), (1, u64::MAX)], Vec::new())],
        "proxy_dequeue_shared_queue" => {
            let all = Allocator::ALL.into_iter();
            all.map(|allocator| Input { allocator, ..with(&[(0, 2)], Vec::new()) }).collect()
        }
        "proxy_grpc_stream" => {
            let open = Call { row: call(row.name, &[]).row, args: good.args.clone(), repeat: None };
            vec![with(&[], vec![open; 4])]
        }
        "proxy_set_buffer_bytes" => vec![with(&[(3, zeros.0), (4, zeros.1)], Vec::new())],
        _ => Vec::new(),
    }
}
