//! Why a call ended, between wasmi's errors and [`Stop`].

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;

use chassis_engine_api::{HostError, Stop, Trap, TrapKind};
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{Error, TrapCode};

/// How a host function ended a call. It waits in the store's data while [`Unwinding`] takes down the guest's frames.
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

impl wasmi::errors::HostError for Unwinding {}

/// What an error of a guest call means, with what a host function has left.
///
/// # Panics
/// If the host function did: its panic goes on here.
#[cold]
pub(crate) fn from_call(error: &Error, parked: Option<Parked>) -> Stop {
    if error.downcast_ref::<Unwinding>().is_some() {
        match parked {
            Some(Parked::Stop(stop)) => return stop,
            Some(Parked::Panic(panic)) => resume_unwind(panic),
            None => {}
        }
    }
    match error.as_trap_code() {
        Some(code) => Stop::Trap(Box::new(trap(code))),
        None => other(error.to_string()),
    }
}

/// What an error of an instantiation means: a trap where the module's own segments do not fit, else the host's refusal.
#[cold]
pub(crate) fn from_instantiation(error: &Error) -> Stop {
    if let ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) = error.kind() {
        return Stop::trap(TrapKind::TableOutOfBounds);
    }
    match error.as_trap_code() {
        Some(code) => Stop::Trap(Box::new(trap(code))),
        None => HostError::new(format!("the instance could not be made: {error}")).into(),
    }
}

fn trap(code: TrapCode) -> Trap {
    let (kind, message) = match code {
        TrapCode::UnreachableCodeReached => (TrapKind::Unreachable, ""),
        TrapCode::MemoryOutOfBounds => (TrapKind::MemoryOutOfBounds, ""),
        TrapCode::TableOutOfBounds => (TrapKind::TableOutOfBounds, ""),
        TrapCode::IndirectCallToNull => (TrapKind::NullFunction, ""),
        TrapCode::BadSignature => (TrapKind::BadSignature, ""),
        TrapCode::StackOverflow => (TrapKind::StackOverflow, ""),
        TrapCode::IntegerDivisionByZero => (TrapKind::DivisionByZero, ""),
        TrapCode::IntegerOverflow => (TrapKind::IntegerOverflow, ""),
        TrapCode::BadConversionToInteger => (TrapKind::BadConversion, ""),
        TrapCode::OutOfFuel => (TrapKind::Other, "wasmi ran out of fuel where it cannot resume"),
        TrapCode::GrowthOperationLimited => (TrapKind::Other, "growth denied"),
        TrapCode::OutOfSystemMemory => (TrapKind::Other, "the system is out of memory"),
    };
    Trap { kind, message: message.to_owned(), backtrace: Vec::new() }
}

fn other(message: String) -> Stop {
    Stop::Trap(Box::new(Trap { kind: TrapKind::Other, message, backtrace: Vec::new() }))
}
