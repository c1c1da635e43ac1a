//! Modules that are hard to read: they are read or refused, and the process lives on.

use crate::host::{compile, run, start};

#[test]
fn blocks_are_nested_as_deep_as_a_body_can_hold() {
    for opened in ["block", "loop", "i32.const 1 if"] {
        for depth in [1_000, 50_000, 170_000] {
            let wat = format!("(module (func {}{}))", format!("{opened} ").repeat(depth), "end ".repeat(depth));
            // On a thread with the stack that Rust gives by default, whatever this one has.
            let thread = std::thread::Builder::new().stack_size(2 << 20);
            let read = thread.spawn(move || compile(&wat).map_err(|error| error.to_string())).unwrap().join();
            assert!(read.is_ok(), "{depth} times {opened}");
        }
    }
}

#[test]
fn a_deep_block_is_run() {
    let depth = 20_000;
    let wat = format!(
        r#"(module (func $f (export "run") (param i32) (result i32) {} (br {depth} (call $g (local.get 0))) {} unreachable)
            (func $g (param i32) (result i32) (local.get 0)))"#,
        "(block ".repeat(depth),
        ")".repeat(depth)
    );
    assert_eq!(run(&mut start(&wat), 3).unwrap(), 3);
}
