//! Tables: what does not fit in memory is never asked for.

use chassis_engine_api::Limits;

use crate::host::{run, start, start_within};

const REFUSED: u64 = 0xffff_ffff;

#[test]
fn growth_beyond_any_memory_is_refused() {
    let wat = r#"(module (table 1 funcref) (table 1 funcref)
        (func (export "run") (param i32) (result i32)
            (drop (table.grow 1 (ref.null func) (local.get 0))) (table.grow 0 (ref.null func) (local.get 0))))"#;
    let mut instance = start(wat);
    for delta in [u64::from(u32::MAX), 0xffff_fffe, 0x7fff_ffff, 0x8000_0000, 10_000] {
        assert_eq!(run(&mut instance, delta).unwrap(), REFUSED, "{delta}");
    }
    assert_eq!(run(&mut instance, 9_999).unwrap(), 1);
}

#[test]
fn the_largest_limit_is_no_negative_number() {
    let limits = Limits { table_elements: u32::MAX, ..Limits::default() };
    let wat = r#"(module (table 1 100000 funcref) (func (export "run") (param i32) (result i32)
        (table.grow (ref.null func) (local.get 0))))"#;
    let mut instance = start_within(wat, &limits);
    assert_eq!(run(&mut instance, 50_000).unwrap(), 1);
    assert_eq!(run(&mut instance, 50_000).unwrap(), REFUSED);
}
