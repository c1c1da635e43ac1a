//! A request in steady state asks for no memory.
#![allow(clippy::unwrap_used)]

mod life;

use std::hint::black_box;

use allocation_counter::measure;

use self::life::Lives;

/// Enough for all that is used again to have been used up and taken back at least once.
const WARM: usize = 1000;

#[test]
fn a_request_asks_for_no_memory_once_others_have_passed() {
    let mut lives = Lives::new();
    // That allocations are seen at all: the first request makes what the others use.
    assert!(measure(|| lives.live()).count_total > 0);
    (0..WARM).for_each(|_| lives.live());
    let info = measure(|| (0..WARM).for_each(|_| lives.live()));
    assert_eq!((info.count_total, info.bytes_total), (0, 0));
}

#[test]
fn what_is_counted_is_every_allocation_of_this_thread() {
    let info = measure(|| {
        let mut bytes = black_box(Vec::<u8>::with_capacity(10));
        bytes.reserve(100);
        drop(black_box(bytes));
    });
    assert_eq!(info.count_total, 2);
}
