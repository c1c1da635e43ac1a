//! Sequences of host calls in callbacks, with arguments that mostly mean something.
//!
//! Whatever comes, a function answers only what its row lists, and the board stays in order. How often each answered OK is
//! counted, as a sequence that is refused from its first call on proves little.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis_abi::{Answer, CALLBACKS, Callback, Dialect, Status, TABLE};
use chassis_engine_api::Stop;
use chassis_engine_api::native::Host;

use crate::arguments::Known;
use crate::counts;
use crate::input::Input;
use crate::world::{Allocator, END, HEAP, World, is_imported};

/// Entries of one input, and calls of one entry.
const MOST_ENTRIES: usize = 12;
const MOST_CALLS: u8 = 16;

/// Plays the sequence that `data` stands for.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let dialect = [Dialect::Envoy, Dialect::Kong, Dialect::Apisix][usize::from(choice % 3)];
    let mut world = World::new(dialect);
    let known = Arc::new(Mutex::new(Known::default()));
    // Mostly there is something to be found, as few inputs come to that by themselves.
    if choice < 0xc0 {
        let known = known.clone();
        let furnish = move |host: &mut dyn Host| lock(&known).furnish(host);
        world.run(Callback::Tick, 1, Allocator::Good, Box::new(furnish));
    }
    for _ in 0..MOST_ENTRIES {
        if input.is_empty() {
            break;
        }
        let (callback, context, allocator) = (callback(&mut input), u32::from(input.byte() % 7), allocator(&mut input));
        // Each entry has its own part of the input, as guests outlive what they are called with.
        let part = input.bytes().to_vec();
        let known = known.clone();
        world.run(callback, context, allocator, Box::new(move |host: &mut dyn Host| play(&part, &known, host)));
    }
    counts::end();
}

fn callback(input: &mut Input<'_>) -> Callback {
    let choice = input.byte();
    // Where most calls are allowed, more often than elsewhere.
    if choice >= 0x80 {
        return [Callback::RequestHeaders, Callback::ResponseHeaders, Callback::Tick, Callback::Log]
            [usize::from(choice % 4)];
    }
    let callback = CALLBACKS[usize::from(choice) % CALLBACKS.len()];
    if matches!(callback, Callback::MemoryAllocate | Callback::Malloc) { Callback::RequestBody } else { callback }
}

fn allocator(input: &mut Input<'_>) -> Allocator {
    match input.byte() {
        0xf0 => Allocator::Grows,
        0xf1 => Allocator::Traps,
        0xf2 => Allocator::Exits,
        0xf3 => Allocator::Reenters,
        0xf4 => Allocator::Answers(0),
        0xf5 => Allocator::Answers(END - 1),
        0xf6 => Allocator::Answers(0xffff_fff0),
        0xf7 => Allocator::Answers(8),
        0xf8 => Allocator::Answers(HEAP - 1),
        _ => Allocator::Good,
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn play(part: &[u8], known: &Mutex<Known>, host: &mut dyn Host) -> Result<(), Stop> {
    let mut input = Input::new(part);
    for _ in 0..MOST_CALLS {
        if input.is_empty() {
            break;
        }
        let index = usize::from(input.byte()) % TABLE.len();
        let row = TABLE[index];
        if !is_imported(row) {
            continue;
        }
        // The allocator may need it meanwhile, so it is not kept locked.
        let mut slots = lock(known).arguments(row, &mut input, host.memory());
        let given = slots;
        host.import(row.modules[0], row.name, &mut slots)?;
        let answer = slots[0] as u32;
        let is_listed = match row.answer {
            Answer::Status => {
                row.statuses.iter().any(|status| *status as u32 == answer)
                    || (answer == Status::InvalidMemoryAccess as u32 && !row.params.is_empty())
            }
            Answer::Errno => answer <= 76,
            Answer::Number | Answer::None => true,
        };
        assert!(is_listed, "{} answered {answer}", row.name);
        if row.answer == Answer::None || answer == 0 || is_answered_by_refusal(row.name, answer) {
            counts::count(index);
            lock(known).learn(row, &given, host.memory());
        }
    }
    Ok(())
}

/// Functions of WASI whose only answer is that there is nothing: that is what counts as OK.
fn is_answered_by_refusal(name: &str, errno: u32) -> bool {
    const FAULT: u32 = 21;
    let is_refused = name.starts_with("path_")
        || name.starts_with("sock_")
        || name.starts_with("fd_p")
        || matches!(
            name,
            "fd_advise"
                | "fd_allocate"
                | "fd_fdstat_set_flags"
                | "fd_filestat_set_size"
                | "fd_filestat_set_times"
                | "fd_readdir"
                | "fd_renumber"
                | "fd_seek"
                | "fd_tell"
                | "proc_raise"
        );
    is_refused && errno != FAULT
}
