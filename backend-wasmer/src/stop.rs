//! Why a call ended, between Wasmer's errors and [`Stop`].

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;

use chassis_engine_api::{Frame, HostError, Stop, Trap, TrapKind};
use wasmer::sys::vm::TrapCode;
use wasmer::{InstantiationError, LinkError, RuntimeError};

use crate::shared::Shared;

/// Frames in a trap's backtrace.
const BACKTRACE_FRAMES: usize = 20;

/// How a host function ended a call. It waits in the instance's data while [`Unwinding`] takes down the guest's frames.
#[derive(Debug)]
pub(crate) enum Parked {
    Stop(Stop),
    Panic(Box<dyn Any + Send>),
}

/// The error that unwinds guest frames for a [`Parked`].
#[derive(Debug)]
pub(crate) struct Unwinding;

impl fmt::Display for Unwinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a host function ended the call")
    }
}

impl std::error::Error for Unwinding {}

#[cold]
pub(crate) fn park<S>(shared: &mut Shared<S>, parked: Parked) -> Unwinding {
    *shared.parked() = Some(parked);
    Unwinding
}

/// What an error of a guest call means, with what a host function has left.
///
/// # Panics
/// If the host function did: its panic goes on here.
#[cold]
pub(crate) fn from_call<S>(error: &RuntimeError, mut shared: Shared<S>) -> Stop {
    if error.is::<Unwinding>() {
        match shared.parked().take() {
            Some(Parked::Stop(stop)) => return stop,
            Some(Parked::Panic(panic)) => resume_unwind(panic),
            None => {}
        }
    }
    match error.clone().to_trap() {
        Some(code) => trap(code, error, shared.exports().moved),
        None => HostError::new(format!("wasmer: {}", error.message())).into(),
    }
}

/// What an error of an instantiation means: a trap where the module's own segments do not fit, else the host's refusal.
#[cold]
pub(crate) fn from_instantiation(error: &InstantiationError) -> Stop {
    if let InstantiationError::Start(inner) | InstantiationError::Link(LinkError::Trap(inner)) = error
        && let Some(code) = inner.clone().to_trap()
    {
        return trap(code, inner, 0);
    }
    HostError::new(format!("the instance could not be made: {error}")).into()
}

fn trap(code: TrapCode, error: &RuntimeError, moved: usize) -> Stop {
    let kind = kind(code);
    let message = if kind == TrapKind::Other { code.message().to_owned() } else { String::new() };
    let frames = error.trace().iter().take(BACKTRACE_FRAMES);
    let frames = frames.map(|frame| {
        let offset = frame.module_offset().checked_sub(moved).map(|offset| offset as u64);
        Frame::new(frame.func_index(), frame.function_name(), offset)
    });
    Stop::Trap(Box::new(Trap { kind, message, backtrace: frames.collect() }))
}

fn kind(code: TrapCode) -> TrapKind {
    match code {
        TrapCode::UnreachableCodeReached => TrapKind::Unreachable,
        TrapCode::HeapAccessOutOfBounds => TrapKind::MemoryOutOfBounds,
        TrapCode::TableAccessOutOfBounds => TrapKind::TableOutOfBounds,
        TrapCode::IndirectCallToNull => TrapKind::NullFunction,
        TrapCode::BadSignature => TrapKind::BadSignature,
        TrapCode::StackOverflow => TrapKind::StackOverflow,
        TrapCode::IntegerDivisionByZero => TrapKind::DivisionByZero,
        TrapCode::IntegerOverflow => TrapKind::IntegerOverflow,
        TrapCode::BadConversionToInteger => TrapKind::BadConversion,
        // The rest belongs to Wasm features that are off.
        _ => TrapKind::Other,
    }
}
