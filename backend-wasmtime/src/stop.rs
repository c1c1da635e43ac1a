//! Wasmtime's errors as [`Stop`]s, and back.

use chassis_engine_api::{Frame, HostError, Stop, Trap, TrapKind};
use wasmtime::{Error, WasmBacktrace};

/// The error that unwinds a guest for `stop`.
#[cold]
pub(crate) fn unwind(stop: Stop) -> Error {
    Error::new(stop)
}

/// Why a call into a guest ended.
#[cold]
pub(crate) fn stop(error: Error) -> Stop {
    match error.downcast::<Stop>() {
        Ok(stop) => stop,
        Err(error) => match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::OutOfFuel) => Stop::Fuel,
            Some(wasmtime::Trap::Interrupt) => Stop::Deadline,
            Some(trap) => Stop::Trap(Box::new(Trap {
                kind: kind(*trap),
                message: message(*trap, &error),
                backtrace: frames(&error),
            })),
            // Not the guest's doing: no memory for the instance, or no place left in the pool.
            None => HostError::new(format!("wasmtime: {error:#}")).into(),
        },
    }
}

fn kind(trap: wasmtime::Trap) -> TrapKind {
    use wasmtime::Trap;
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::NullFunction,
        Trap::BadSignature => TrapKind::BadSignature,
        Trap::StackOverflow => TrapKind::StackOverflow,
        Trap::IntegerDivisionByZero => TrapKind::DivisionByZero,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::BadConversionToInteger => TrapKind::BadConversion,
        // The rest belongs to Wasm features that are off.
        _ => TrapKind::Other,
    }
}

fn message(trap: wasmtime::Trap, error: &Error) -> String {
    match kind(trap) {
        TrapKind::Other => trap.to_string(),
        // Where the guest's memory ends and what it reached for, if the fault was a signal.
        TrapKind::MemoryOutOfBounds => {
            error.chain().map(ToString::to_string).find(|words| words.starts_with("memory fault")).unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn frames(error: &Error) -> Vec<Frame> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let frame = |frame: &wasmtime::FrameInfo| {
        Frame::new(frame.func_index(), frame.func_name(), frame.module_offset().map(|offset| offset as u64))
    };
    backtrace.frames().iter().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trap_has_its_kind() {
        use wasmtime::Trap;
        let known = [
            (Trap::UnreachableCodeReached, TrapKind::Unreachable),
            (Trap::MemoryOutOfBounds, TrapKind::MemoryOutOfBounds),
            (Trap::TableOutOfBounds, TrapKind::TableOutOfBounds),
            (Trap::IndirectCallToNull, TrapKind::NullFunction),
            (Trap::BadSignature, TrapKind::BadSignature),
            (Trap::StackOverflow, TrapKind::StackOverflow),
            (Trap::IntegerDivisionByZero, TrapKind::DivisionByZero),
            (Trap::IntegerOverflow, TrapKind::IntegerOverflow),
            (Trap::BadConversionToInteger, TrapKind::BadConversion),
        ];
        for code in 0..=u8::MAX {
            let Some(trap) = Trap::from_u8(code) else { continue };
            let stop = stop(Error::new(trap));
            match trap {
                Trap::OutOfFuel => assert!(matches!(stop, Stop::Fuel)),
                Trap::Interrupt => assert!(matches!(stop, Stop::Deadline)),
                _ => {
                    let expected = known.iter().find(|(known, _)| *known == trap).map(|(_, kind)| *kind);
                    let Stop::Trap(found) = stop else { panic!("{trap:?}: {stop:?}") };
                    assert_eq!(found.kind, expected.unwrap_or(TrapKind::Other), "{trap:?}");
                    assert_eq!(found.message.is_empty(), expected.is_some(), "{trap:?}");
                }
            }
        }
    }

    #[test]
    fn a_stop_comes_back_as_it_went_in_and_anything_else_is_the_hosts() {
        assert!(matches!(stop(unwind(Stop::Exit(7))), Stop::Exit(7)));
        assert!(matches!(stop(unwind(Stop::Exit(7)).context("on the way")), Stop::Exit(7)));
        let Stop::Host(error) = stop(Error::msg("inner").context("outer")) else { panic!() };
        assert_eq!(error.to_string(), "wasmtime: outer: inner");
    }
}
