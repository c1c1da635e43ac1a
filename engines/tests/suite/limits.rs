//! Memory and table limits, at their edges.

use chassis_engine_api::{Instance, Limits, Stop};

use crate::case::engine_test;
use crate::guest::{GENEROUS, failed, load};
use crate::host::State;
use crate::subject::Subject;

const PAGE: u64 = 1 << 16;
/// What `memory.grow` and `table.grow` answer when they cannot.
const REFUSED: u64 = 0xffff_ffff;

engine_test! { "limits";
    fn initial_memory_at_the_limit_is_given(engine) needs [Memory] {
        let mut guest = load(engine, &memory(2, None)).start_within(&pages(2)).ok().unwrap();
        assert_eq!(guest.instance.memory_bytes(), 2 * PAGE);
        assert_eq!(guest.instance.memory().0.len() as u64, 2 * PAGE);
        assert!(load(engine, &memory(0, None)).start_within(&pages(0)).is_ok());
    }

    fn initial_memory_beyond_the_limit_is_refused_with_the_state(engine) needs [Memory] {
        let loaded = load(engine, &memory(3, None));
        for bytes in [2 * PAGE, 3 * PAGE - 1, 0] {
            refused(&loaded, &Limits { memory_bytes: bytes, ..Limits::default() });
        }
    }

    fn memory_grows_to_the_limit_and_no_further(engine) needs [Memory] {
        let mut guest = load(engine, &memory(1, None)).start_within(&pages(3)).ok().unwrap();
        let answers = [3, 1, 0, 2, 1, 1, 0xffff_ffff, 0].map(|n| guest.run(&[n]).unwrap());
        assert_eq!(answers, [REFUSED, 1, 2, REFUSED, 2, REFUSED, REFUSED, 3]);
        assert_eq!(guest.instance.memory_bytes(), 3 * PAGE);
    }

    fn a_limit_within_a_page_does_not_give_that_page(engine) needs [Memory] {
        let limits = Limits { memory_bytes: 2 * PAGE + 100, ..Limits::default() };
        let mut guest = load(engine, &memory(1, None)).start_within(&limits).ok().unwrap();
        assert_eq!([1, 1].map(|n| guest.run(&[n]).unwrap()), [1, REFUSED]);
    }

    fn the_modules_own_maximum_holds_too(engine) {
        let mut guest = load(engine, &memory(1, Some(2))).start();
        assert_eq!([2, 1, 1].map(|n| guest.run(&[n]).unwrap()), [REFUSED, 1, REFUSED]);
    }

    fn memory_cannot_exceed_what_wasm_addresses(engine) needs [Wasm] {
        let limits = Limits { memory_bytes: u64::MAX, ..Limits::default() };
        let mut guest = load(engine, &memory(1, None)).start_within(&limits).ok().unwrap();
        assert_eq!(guest.run(&[65_536]).unwrap(), REFUSED);
        assert_eq!(guest.run(&[1]).unwrap(), 1);
    }

    fn limits_are_per_instance(engine) needs [Memory] {
        let loaded = load(engine, &memory(1, None));
        let mut small = loaded.start_within(&pages(1)).ok().unwrap();
        let mut large = loaded.start_within(&pages(2)).ok().unwrap();
        assert_eq!((small.run(&[1]).unwrap(), large.run(&[1]).unwrap()), (REFUSED, 1));
    }

    fn the_default_limit_holds(engine) needs [Memory] {
        let mut guest = load(engine, &memory(1, None)).start();
        assert_eq!([1024, 1023, 1].map(|n| guest.run(&[n]).unwrap()), [REFUSED, 1, REFUSED]);
        assert_eq!(guest.instance.memory_bytes(), 64 << 20);
    }

    fn a_memory_that_is_not_exported_is_limited_too(engine) needs [Wasm, Memory] {
        let wat = r#"(module (memory 2)
            (func (export "run") (param i32) (result i32) (memory.grow (local.get 0))))"#;
        refused(&load(engine, wat), &pages(1));
        let mut guest = load(engine, wat).start_within(&pages(3)).ok().unwrap();
        assert_eq!([1, 1].map(|n| guest.run(&[n]).unwrap()), [2, REFUSED]);
    }

    fn initial_tables_at_the_limit_are_given(engine) needs [Table] {
        let mut guest = load(engine, &table(10)).start_within(&elements(10)).ok().unwrap();
        guest.run(&[0]).unwrap();
    }

    fn initial_tables_beyond_the_limit_are_refused_with_the_state(engine) needs [Table] {
        refused(&load(engine, &table(11)), &elements(10));
        refused(&load(engine, &table(1)), &elements(0));
    }

    fn tables_grow_to_the_limit_and_no_further(engine) needs [Wasm, Table] {
        let mut guest = load(engine, &table(4)).start_within(&elements(10)).ok().unwrap();
        let answers = [7, 5, 2, 1, 1, 0xffff_ffff, 0].map(|n| guest.run(&[n]).unwrap());
        assert_eq!(answers, [REFUSED, 4, REFUSED, 9, REFUSED, REFUSED, 10]);
    }

    fn each_table_has_the_whole_limit(engine) needs [Wasm, Table] {
        let mut guest = load(
            engine,
            r#"(module (table $a 10 funcref) (table $b 9 funcref) (func (export "run") (param i32) (result i32)
                (i32.add (table.size $a) (table.grow $b (ref.null func) (local.get 0)))))"#,
        )
        .start_within(&elements(10))
        .ok()
        .unwrap();
        assert_eq!(guest.run(&[1]).unwrap(), 19);
        assert_eq!(guest.run(&[1]).unwrap(), 9);
    }

    fn the_default_table_limit_holds(engine) needs [Wasm, Table] {
        let mut guest = load(engine, &table(1)).start();
        assert_eq!([10_000, 9_999, 1].map(|n| guest.run(&[n]).unwrap()), [REFUSED, 1, REFUSED]);
    }

    fn a_module_without_memory_and_tables_needs_nothing(engine) {
        let none = Limits { memory_bytes: 0, table_elements: 0 };
        let mut guest = load(engine, r#"(module (@custom "chassis.native" "idle"))"#).start_within(&none).ok().unwrap();
        assert!(guest.instance.memory().0.is_empty());
    }
}

fn memory(initial: u64, maximum: Option<u64>) -> String {
    let maximum = maximum.map_or(String::new(), |n| n.to_string());
    format!(
        r#"(module (memory (export "memory") {initial} {maximum})
            (func (export "run") (param i32) (result i32) (memory.grow (local.get 0)))
            (@custom "chassis.native" "growing by as much"))"#
    )
}

fn table(initial: u64) -> String {
    format!(
        r#"(module (table {initial} funcref)
            (func (export "run") (param i32) (result i32) (table.grow (ref.null func) (local.get 0)))
            (@custom "chassis.native" "idle"))"#
    )
}

fn pages(n: u64) -> Limits {
    Limits { memory_bytes: n * PAGE, ..Limits::default() }
}

fn elements(n: u32) -> Limits {
    Limits { table_elements: n, ..Limits::default() }
}

#[track_caller]
fn refused<E: Subject>(loaded: &crate::guest::Loaded<E>, limits: &Limits) {
    let state = State { log: vec![1, 2], reply: 3 };
    let failed = failed(loaded.start_with(state, limits, GENEROUS));
    assert!(matches!(&failed.stop, Stop::Host(error) if !error.to_string().is_empty()), "{:?}", failed.stop);
    assert_eq!(failed.state, State { log: vec![1, 2], reply: 3 });
}
