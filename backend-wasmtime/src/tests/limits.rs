use super::*;
use crate::POOL_SIZES;

fn message(failed: Result<WasmtimeInstance<State>, Failed<State>>) -> String {
    let failed = failed.unwrap_err();
    assert_eq!(failed.state.answer, 42);
    let Stop::Host(error) = failed.stop else { panic!("{:?}", failed.stop) };
    error.to_string()
}

#[test]
fn memory_is_held_to_its_limit_at_the_edge() {
    for profile in Profile::ALL {
        let engine = engine(profile);
        let wat = r#"(module (memory (export "memory") 3)
            (func (export "alloc") (param i32) (result i32) (memory.grow (local.get 0))))"#;
        let limit = |memory_bytes| Limits { memory_bytes, ..Limits::default() };
        assert_eq!(
            message(try_start(&engine, wat, &limit((3 << 16) - 1))),
            "the module needs 196608 bytes of memory at the start, the limit is 196607"
        );
        let mut instance = try_start(&engine, wat, &limit(3 << 16)).unwrap();
        let mut grow = |pages: u64| {
            let mut slots = [pages];
            instance.call(ALLOC, &mut slots, Budget::UNLIMITED).unwrap();
            slots[0] as u32 as i32
        };
        assert_eq!((grow(0), grow(1)), (3, -1));
        let mut instance = try_start(&engine, wat, &limit((5 << 16) + 1)).unwrap();
        let mut grow = |pages: u64| {
            let mut slots = [pages];
            instance.call(ALLOC, &mut slots, Budget::UNLIMITED).unwrap();
            slots[0] as u32 as i32
        };
        assert_eq!([grow(3), grow(1), grow(65_535), grow(2), grow(1), grow(1)], [-1, 3, -1, -1, 4, -1]);
        assert_eq!(instance.memory_bytes(), 5 << 16);
    }
}

#[test]
fn a_growth_that_fails_for_the_modules_own_maximum_takes_nothing_from_the_limit() {
    let engine = engine(Profile::Deadline);
    let wat = r#"(module (memory (export "memory") 1 2)
        (func (export "alloc") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let mut instance = try_start(&engine, wat, &Limits { memory_bytes: 3 << 16, ..Limits::default() }).unwrap();
    for (pages, answer) in [(2, u32::MAX), (1, 1), (1, u32::MAX)] {
        let mut slots = [pages];
        instance.call(ALLOC, &mut slots, Budget::UNLIMITED).unwrap();
        assert_eq!(slots[0], u64::from(answer));
    }
}

#[test]
fn each_table_is_held_to_its_limit_at_the_edge() {
    for profile in Profile::ALL {
        let engine = engine(profile);
        let wat = r#"(module (table 1 funcref) (table $t 10 funcref)
            (func (export "alloc") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"#;
        let limit = |table_elements| Limits { table_elements, ..Limits::default() };
        assert_eq!(
            message(try_start(&engine, wat, &limit(9))),
            "the module needs a table of 10 elements at the start, the limit is 9"
        );
        let mut instance = try_start(&engine, wat, &limit(12)).unwrap();
        let mut grow = |elements: u64| {
            let mut slots = [elements];
            instance.call(ALLOC, &mut slots, Budget::UNLIMITED).unwrap();
            slots[0] as u32 as i32
        };
        assert_eq!([grow(3), grow(2), grow(1), grow(0)], [-1, 10, -1, 12]);
    }
}

#[test]
fn a_pool_gives_places_back_and_says_when_there_is_none() {
    let engine = engine(Profile::Stream);
    let linked = link(
        &engine,
        r#"(module (memory (export "memory") 1) (func (export "run") (result i32) (i32.load (i32.const 0))))"#,
    );
    let new = || engine.instantiate(&linked, State::default(), &Limits::default(), Budget::UNLIMITED);
    // One after the other, more than there are places; each finds its memory as it should be.
    for _ in 0..POOL_SIZES[0] + 10 {
        let mut instance = new().unwrap();
        assert_eq!(call(&mut instance, RUN_I32).unwrap(), 0);
        instance.memory().0[0] = 1;
    }
    let mut held = Vec::new();
    let failed = loop {
        match new() {
            Ok(instance) => held.push(instance),
            Err(failed) => break failed,
        }
        assert!(held.len() <= POOL_SIZES[0] as usize);
    };
    assert!(POOL_SIZES.contains(&(held.len() as u32)), "{}", held.len());
    let Stop::Host(error) = failed.stop else { panic!("{:?}", failed.stop) };
    assert!(error.to_string().starts_with("wasmtime: "), "{error}");
    held.pop();
    assert!(new().is_ok());
}

#[test]
fn a_large_module_fits_the_pool() {
    let engine = engine(Profile::Stream);
    let functions = "(func (param i32) (result i32) (local.get 0))".repeat(20_000);
    let elements = (1..=2_000).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let tables = "(table 5000 funcref)".repeat(15);
    let wat = format!(
        r#"(module (func (export "run")) {functions} (table 5000 funcref) {tables} (elem (i32.const 0) func {elements}))"#
    );
    let mut instance = try_start(&engine, &wat, &Limits::default()).unwrap();
    assert!(call(&mut instance, RUN).is_ok());
}
