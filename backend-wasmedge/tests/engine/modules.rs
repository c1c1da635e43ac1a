//! Modules that are hard to read: they are read or refused, and the process lives on.

use std::time::{Duration, Instant};

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

#[test]
fn as_many_lists_of_results_as_a_module_may_have_are_read_at_once() {
    let types = ["i32", "i64", "f32", "f64", "funcref", "v128"];
    let functions: String = (0..40_000_usize)
        .map(|i| {
            let results: Vec<&str> = (0..7).map(|place| types[i / 6_usize.pow(place) % 6]).collect();
            format!("(func (result {}) (call {i}))", results.join(" "))
        })
        .collect();
    let begin = Instant::now();
    compile(&format!("(module {functions})")).unwrap();
    // Comparing each with each would take a minute.
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}
