//! Whether this build of wasmi may run guests at all.
//!
//! wasmi's instructions call each other. In most optimised builds the compiler makes jumps of these calls; where it
//! does not (debug assertions on, or a middling optimisation level), each instruction that a guest runs takes native
//! stack, and a guest's loop ends the process. Nothing promises those jumps, so it is tried, once per process.

use std::sync::OnceLock;

use wasmi::{Caller, Engine, Error, Linker, Module, Store};

use crate::engine;

/// The module of `probe.wat`.
const PROBE: &[u8] = include_bytes!("probe.wasm");

/// Rounds of the probe's loop. Taking no more than a word for each instruction would show.
const ROUNDS: i32 = 500;
/// Bytes by which the stack depth may differ.
const TOLERANCE: usize = 2048;

/// Runs the probe, the first time it is called.
pub(crate) fn check() -> Result<(), String> {
    static RESULT: OnceLock<Result<(), String>> = OnceLock::new();
    RESULT.get_or_init(|| judge(run())).clone()
}

fn judge(depths: Result<[usize; 2], Error>) -> Result<(), String> {
    match depths {
        Ok([short, long]) if short.abs_diff(long) <= TOLERANCE => Ok(()),
        Ok(_) => Err("in this build each of its instructions takes native stack: build wasmi with opt-level 3 and \
                without debug assertions, or with the feature `portable-dispatch`"
            .to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The addresses of a host function's frame after one round and after many.
fn run() -> Result<[usize; 2], Error> {
    let engine = Engine::new(&engine::config());
    let module = Module::new(&engine, PROBE)?;
    let mut linker = Linker::<usize>::new(&engine);
    linker.func_wrap("", "depth", |mut caller: Caller<'_, usize>| {
        let here = 0_u8;
        *caller.data_mut() = (&raw const here).addr();
    })?;
    let mut store = Store::new(&engine, 0);
    store.set_fuel(u64::MAX)?;
    let instance = linker.instantiate_and_start(&mut store, &module)?;
    let probe = instance.get_typed_func::<i32, ()>(&store, "")?;
    let mut depth = |rounds| -> Result<usize, Error> {
        probe.call(&mut store, rounds)?;
        Ok(*store.data())
    };
    Ok([depth(1)?, depth(ROUNDS)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_what_its_text_says() {
        assert_eq!(PROBE, wat::parse_str(include_str!("probe.wat")).unwrap());
    }

    #[test]
    fn this_build_may_run_guests() {
        let [short, long] = run().unwrap();
        assert!(short.abs_diff(long) <= TOLERANCE, "{}", short.abs_diff(long));
    }

    #[test]
    fn a_build_that_takes_stack_is_refused() {
        assert!(judge(Ok([100_000, 100_000 - 8 * ROUNDS as usize])).is_err());
    }
}
