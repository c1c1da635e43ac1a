//! Growing tables across the edge of a fuel slice.

use crate::host::{start, with};

#[test]
fn a_table_grows_once_wherever_a_slice_ends() {
    // The loop in front takes a different number of units each time, so that some growths meet the end of a slice.
    let wat = r#"(module (table $t 0 funcref) (global $n (mut i32) (i32.const 0))
        (func (export "with") (param i32) (result i32) (local $i i32)
            (loop $l
                (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 0))))
            (drop (table.grow $t (ref.null func) (i32.const 2000)))
            (i32.add (i32.mul (global.get $n) (i32.const 10000)) (table.size $t))))"#;
    for iterations in (1_000..4_000).step_by(4) {
        assert_eq!(with(&mut start(wat), iterations).unwrap(), iterations * 10_000 + 2_000);
    }
}
