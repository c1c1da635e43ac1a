//! Memory and table limits at their edges.

use chassis_engine_api::{Instance, Limits, Stop};

use crate::host::{Setup, with};

const PAGE: u64 = 1 << 16;

fn limited(memory_bytes: u64, table_elements: u32) -> Setup {
    Setup { limits: Limits { memory_bytes, table_elements }, ..Setup::default() }
}

fn refusal(setup: &Setup, wat: &str) -> String {
    match setup.try_start(wat) {
        Err(failed) => match failed.stop {
            Stop::Host(error) => error.to_string(),
            other => panic!("{other:?}"),
        },
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn memory_grows_up_to_the_limit_and_not_a_page_further() {
    let wat = r#"(module (memory (export "memory") 2)
        (func (export "with") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let mut instance = limited(4 * PAGE, 0).try_start(wat).unwrap();
    assert_eq!(with(&mut instance, 3).unwrap(), -1);
    assert_eq!(with(&mut instance, 1).unwrap(), 2);
    assert_eq!(with(&mut instance, 1).unwrap(), 3);
    assert_eq!(with(&mut instance, 1).unwrap(), -1);
    assert_eq!(with(&mut instance, 0).unwrap(), 4);
    assert_eq!(with(&mut instance, -1).unwrap(), -1);
    assert_eq!(instance.memory_bytes(), 4 * PAGE);
    assert_eq!(instance.memory().0.len() as u64, 4 * PAGE);
    assert_eq!(with(&mut limited(4 * PAGE - 1, 0).try_start(wat).unwrap(), 2).unwrap(), -1);
}

#[test]
fn a_module_that_starts_beyond_its_memory_limit_is_refused_in_words() {
    let wat = "(module (memory 3))";
    assert!(limited(3 * PAGE, 0).try_start(wat).is_ok());
    let message = refusal(&limited(3 * PAGE - 1, 0), wat);
    assert_eq!(message, "the memory starts with 196608 bytes, the limit is 196607");
}

#[test]
fn tables_start_and_grow_within_their_limit() {
    let wat = r#"(module (table 2 funcref) (table 5 funcref)
        (func (export "with") (param i32) (result i32) (table.grow 1 (ref.null func) (local.get 0))))"#;
    let message = refusal(&limited(0, 4), wat);
    assert_eq!(message, "a table starts with 5 elements, the limit is 4");
    let mut instance = limited(0, 7).try_start(wat).unwrap();
    assert_eq!(with(&mut instance, 3).unwrap(), -1);
    assert_eq!(with(&mut instance, 2).unwrap(), 5);
    assert_eq!(with(&mut instance, 1).unwrap(), -1);
    assert_eq!(with(&mut instance, 0).unwrap(), 7);
}

#[test]
fn a_memory_that_is_not_exported_is_limited_but_not_shown() {
    let wat = r#"(module (memory 1)
        (func (export "with") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let mut instance = limited(2 * PAGE, 0).try_start(wat).unwrap();
    assert_eq!(with(&mut instance, 2).unwrap(), -1);
    assert_eq!(with(&mut instance, 1).unwrap(), 1);
    assert_eq!(instance.memory_bytes(), 0);
    assert!(instance.memory().0.is_empty());
}
