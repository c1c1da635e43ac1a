//! Two engines that trap in one process, whichever came first: both take over signals or handle stacks in their ways.
//!
//! Each order runs in a process of its own, as what an engine sets up at its first use lasts as long as the process.

use std::thread;

use chassis_engine_api::{Profile, TrapKind};
use libtest_mimic::Trial;

use crate::child;
use crate::guest::{Loaded, assert_trap, load};
use crate::subject::Subject;

/// One trial for each pair of engines that run Wasm, in both orders.
pub(crate) fn trials() -> Vec<Trial> {
    let names: Vec<&str> = child::engines().iter().map(|known| known.name).collect();
    let pairs = names.iter().flat_map(|first| names.iter().map(move |second| (*first, *second)));
    pairs
        .filter(|(first, second)| first != second)
        .map(|(first, second)| {
            Trial::test(format!("traps/two_engines_in_one_process::{first}+{second}"), move || {
                child::run(&format!("trap {first} {second}")).map(|_| ()).map_err(Into::into)
            })
        })
        .collect()
}

/// What the child does: both engines trap, on one thread and then on many at once.
pub(crate) fn trap_in_turn(names: &[&str]) {
    // First on this thread, one after the other, so that the order is the one that was asked for.
    let chosen: Vec<Trapper> = names
        .iter()
        .map(|name| {
            let trap = (child::engine(name).trapper)();
            trap();
            trap
        })
        .collect();
    thread::scope(|scope| {
        for thread in 0..6 {
            let chosen = &chosen;
            scope.spawn(move || {
                for n in 0..50 {
                    chosen[(thread + n) % chosen.len()]();
                }
            });
        }
    });
    chosen.iter().rev().for_each(|trap| trap());
}

/// Makes an instance, and has it trap in every way that engines handle differently.
pub(crate) type Trapper = Box<dyn Fn() + Send + Sync>;

/// Opens an engine.
pub(crate) fn trapper<E: Subject>() -> Trapper {
    let engine = E::open(Profile::Deadline);
    let loaded = load(
        &engine,
        r#"(module (memory 1) (table 1 funcref) (func $down (call $down) (nop))
            (func (export "run") (param i32) (result i32)
                (block $default (block $4 (block $3 (block $2 (block $1 (block $0
                    (br_table $0 $1 $2 $3 $4 $default (local.get 0)))
                    unreachable)
                    (drop (i32.load (i32.const 0x7fffffff))) unreachable)
                    (drop (i32.div_u (i32.const 1) (i32.load (i32.const 0)))) unreachable)
                    (call $down) unreachable)
                    (call_indirect (i32.const 0)) unreachable)
                (i32.const 11)))"#,
    );
    Box::new(move || all_traps(&loaded))
}

fn all_traps<E: Subject>(loaded: &Loaded<E>) {
    let kinds = [
        TrapKind::Unreachable,
        TrapKind::MemoryOutOfBounds,
        TrapKind::DivisionByZero,
        TrapKind::StackOverflow,
        TrapKind::NullFunction,
    ];
    let mut guest = loaded.start();
    for (n, kind) in kinds.into_iter().enumerate() {
        assert_trap(guest.run(&[n as u64]), kind);
        assert_eq!(guest.run(&[99]).unwrap(), 11);
    }
}
