//! The guest: whatever it is called by, it makes the calls that stand in its memory, and writes down what they answer.

use std::fmt::Write;

use chassis_abi::{CALLBACKS, Callback, Row, TABLE};
use chassis_engine_api::Ty;

use crate::memory::{Atlas, BEHAVIOUR, END, HEAP, PROGRAM};

/// How large the record of a call is: the function, its answer, how often it is made, the address of a number that is
/// counted up each time, and 16 parameters.
const RECORD: usize = 16 + 16 * 8;
/// What stands where a call has not answered.
pub(crate) const UNANSWERED: u32 = 0xeeee_eeee;
/// So many fit.
const MOST_CALLS: usize = (END - PROGRAM - 16) as usize / RECORD - 1;

/// A host call: which row of the table, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) row: usize,
    pub(crate) args: Vec<u64>,
    /// How often, and the address of the number that makes each of them another one.
    pub(crate) repeat: Option<(u32, u32)>,
}

/// How the allocator behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocator {
    Good,
    Zero,
    LastByte,
    Wraps,
    Low,
    Grows,
    Traps,
    Loops,
    Reenters,
    Logs,
    Exits,
}

impl Allocator {
    pub(crate) const ALL: [Allocator; 11] = [
        Allocator::Good,
        Allocator::Zero,
        Allocator::LastByte,
        Allocator::Wraps,
        Allocator::Low,
        Allocator::Grows,
        Allocator::Traps,
        Allocator::Loops,
        Allocator::Reenters,
        Allocator::Logs,
        Allocator::Exits,
    ];

    /// Whether a guest with it may be stopped.
    pub(crate) fn may_stop(self) -> bool {
        matches!(self, Allocator::Traps | Allocator::Loops | Allocator::Reenters | Allocator::Exits)
    }
}

/// Writes the calls, and how the allocator behaves, into the memory.
pub(crate) fn write(memory: &mut [u8], calls: &[Call], allocator: Allocator) {
    assert!(calls.len() <= MOST_CALLS);
    let mut put = |at: u32, bytes: &[u8]| memory[at as usize..][..bytes.len()].copy_from_slice(bytes);
    put(BEHAVIOUR, &(allocator as u32).to_le_bytes());
    put(PROGRAM, &(calls.len() as u32).to_le_bytes());
    for (i, call) in calls.iter().enumerate() {
        let at = record(i);
        let (repeat, count) = call.repeat.unwrap_or((1, BEHAVIOUR + 8));
        for (i, number) in [call.row as u32, UNANSWERED, repeat, count].into_iter().enumerate() {
            put(at + 4 * i as u32, &number.to_le_bytes());
        }
        for (i, arg) in call.args.iter().enumerate() {
            put(at + 16 + 8 * i as u32, &arg.to_le_bytes());
        }
    }
}

/// What the `i`-th call has answered.
pub(crate) fn answer(memory: &[u8], i: usize) -> u32 {
    let at = record(i) as usize + 4;
    u32::from_le_bytes(memory[at..at + 4].try_into().unwrap())
}

fn record(i: usize) -> u32 {
    PROGRAM + 8 + (i * RECORD) as u32
}

/// The module, which imports all of the table that one can.
pub(crate) fn module(atlas: &Atlas) -> String {
    let type_of = |ty: &Ty| if *ty == Ty::I64 { " i64" } else { " i32" };
    let params = |types: &[Ty]| types.iter().map(type_of).collect::<String>();
    let mut wat = String::from("(module\n");
    for (i, row) in TABLE.iter().enumerate().filter(|(_, row)| is_imported(row)) {
        let result = if row.sig.result.is_some() { "(result i32)" } else { "" };
        let (module, name) = (row.modules[0], row.name);
        writeln!(wat, "(import \"{module}\" \"{name}\" (func $f{i} (param{}) {result}))", params(row.sig.params))
            .unwrap();
    }
    writeln!(wat, "(memory (export \"memory\") 2 8)\n(func (export \"proxy_abi_version_0_2_1\"))").unwrap();
    writeln!(wat, "{}", atlas.segment()).unwrap();
    let functions: String = (0..TABLE.len()).map(|i| format!(" $call{i}")).collect();
    writeln!(wat, "(type $call (func (param i32) (result i32)))").unwrap();
    writeln!(wat, "(table {} funcref) (elem (i32.const 0) func{functions})", TABLE.len()).unwrap();
    for (i, row) in TABLE.iter().enumerate() {
        if !is_imported(row) {
            writeln!(wat, "(func $call{i} (type $call) unreachable)").unwrap();
            continue;
        }
        let mut args = String::new();
        for (place, ty) in row.sig.params.iter().enumerate() {
            let kind = if *ty == Ty::I64 { "i64" } else { "i32" };
            write!(args, " ({kind}.load offset={} (local.get 0))", 16 + 8 * place).unwrap();
        }
        let result = if row.sig.result.is_some() { "" } else { "(i32.const 0)" };
        writeln!(wat, "(func $call{i} (type $call) (call $f{i}{args}) {result})").unwrap();
    }
    wat.push_str(&run());
    wat.push_str(&allocator());
    for callback in CALLBACKS.iter().filter(|callback| is_exported(**callback)) {
        let sig = &callback.sigs()[0];
        let (result, value) = if sig.result.is_some() { ("(result i32)", "(i32.const 0)") } else { ("", "") };
        let (name, params) = (callback.name(), params(sig.params));
        writeln!(wat, "(func (export \"{name}\") (param{params}) {result} (call $run) {value})").unwrap();
    }
    wat.push(')');
    wat
}

/// Of the functions that exist with and without a result a module can have one; the other is the same but for it.
pub(crate) fn is_imported(row: &Row) -> bool {
    let has_other = || TABLE.iter().any(|other| other.name == row.name && other.sig != row.sig);
    row.sig.result.is_some() || !has_other()
}

fn is_exported(callback: Callback) -> bool {
    !matches!(
        callback,
        Callback::MemoryAllocate | Callback::Malloc | Callback::Start | Callback::Main | Callback::MainVoid
    )
}

fn run() -> String {
    format!(
        "(func $run (local $at i32) (local $end i32) (local $left i32) (local $count i32)
            (local.set $at (i32.const {first}))
            (local.set $end (i32.add (local.get $at)
                (i32.mul (i32.load (i32.const {PROGRAM})) (i32.const {RECORD}))))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
                (local.set $left (i32.load offset=8 (local.get $at)))
                (local.set $count (i32.load offset=12 (local.get $at)))
                (loop $again
                    (i32.store offset=4 (local.get $at)
                        (call_indirect (type $call) (local.get $at) (i32.load (local.get $at))))
                    (i32.store (local.get $count) (i32.add (i32.load (local.get $count)) (i32.const 1)))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $again (local.get $left)))
                (local.set $at (i32.add (local.get $at) (i32.const {RECORD})))
                (br $next))))\n",
        first = record(0),
    )
}

fn allocator() -> String {
    let place = |name: &str| TABLE.iter().position(|row| row.name == name).unwrap();
    let (done, log, exit) = (place("proxy_done"), place("proxy_log"), place("proc_exit"));
    let mut cases = String::new();
    for allocator in Allocator::ALL {
        let does = match allocator {
            Allocator::Good => format!("(return (i32.const {HEAP}))"),
            Allocator::Zero => "(return (i32.const 0))".to_owned(),
            Allocator::LastByte => format!("(return (i32.const {}))", END - 1),
            Allocator::Wraps => "(return (i32.const 0xfffffff0))".to_owned(),
            Allocator::Low => "(return (i32.const 8))".to_owned(),
            Allocator::Grows => "(return (i32.shl (memory.grow (i32.const 1)) (i32.const 16)))".to_owned(),
            Allocator::Traps => "(unreachable)".to_owned(),
            Allocator::Loops => "(loop $for_ever (br $for_ever))".to_owned(),
            Allocator::Reenters => format!("(drop (call $f{done})) (return (i32.const {HEAP}))"),
            Allocator::Logs => {
                format!("(drop (call $f{log} (i32.const 2) (i32.const 0) (i32.const 3))) (return (i32.const {HEAP}))")
            }
            Allocator::Exits => format!("(call $f{exit} (i32.const 7))"),
        };
        let number = allocator as u32;
        writeln!(cases, "(if (i32.eq (local.get $behaviour) (i32.const {number})) (then {does}))").unwrap();
    }
    format!(
        "(func (export \"proxy_on_memory_allocate\") (param i32) (result i32) (local $behaviour i32)
            (local.set $behaviour (i32.load (i32.const {BEHAVIOUR})))
            {cases}(unreachable))\n"
    )
}
