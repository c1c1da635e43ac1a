//! The guest that all sides run.

/// How often a loop of the guest calls the host.
pub(crate) const LOOP: u32 = 1000;
/// The header's value.
pub(crate) const VALUE: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// A module with an empty export, two loops of host calls and a bump allocator.
pub(crate) fn module() -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
            (import "env" "nothing" (func $nothing (param i32 i32 i32) (result i32)))
            (import "env" "get_header" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (global $next (mut i32) (i32.const 65536))
            (func (export "malloc") (param $size i32) (result i32)
                (global.set $next (i32.or (i32.const 65536) (i32.and (i32.const 0xfff0)
                    (i32.add (global.get $next) (i32.add (local.get $size) (i32.const 15))))))
                (i32.sub (global.get $next) (i32.const 1024)))
            (func (export "empty") (param i32 i32 i32) (result i32) (i32.const 0))
            (func (export "host_calls") (param i32 i32 i32) (result i32)
                (local $i i32)
                (local.set $i (i32.const {LOOP}))
                (loop $again
                    (drop (call $nothing (i32.const 1) (i32.const 2) (i32.const 3)))
                    (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                (i32.const 0))
            (func (export "get_header") (param i32 i32 i32) (result i32)
                (local $i i32)
                (local.set $i (i32.const {LOOP}))
                (loop $again
                    (drop (call $get_header (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 4)))
                    (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                (i32.const 0)))"#
    ))
    .unwrap()
}

/// A module with many functions, for compiling and loading: about 100 KB.
pub(crate) fn large_module() -> Vec<u8> {
    let mut functions = String::new();
    for i in 0..400 {
        functions.push_str(&format!("(func (export \"f{i}\") (param $x i32) (result i32) (local $y i32)"));
        for j in 0..30 {
            functions.push_str(&format!(
                "(local.set $y (i32.xor (i32.mul (local.get $x) (i32.const {j})) (i32.load (i32.and (local.get $y) (i32.const 65532)))))"
            ));
        }
        functions.push_str("(local.get $y))");
    }
    wat::parse_str(format!("(module (memory (export \"memory\") 1) {functions})")).unwrap()
}
