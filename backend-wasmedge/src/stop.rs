//! Why a call ended, between WasmEdge's codes and [`Stop`].

use std::any::Any;
use std::ffi::CStr;
use std::fmt;

use chassis_engine_api::{HostError, Stop, Trap, TrapKind};
use wasmedge_sys::ffi;

/// How a host function ended a call. It waits beside the host's state while the guest's frames are taken down: 24 bits
/// are all that passes through them.
pub(crate) enum Parked {
    Stop(Stop),
    Panic(Box<dyn Any + Send>),
}

/// An error of WasmEdge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u32);

impl Code {
    /// WasmEdge made no object, as it does without memory.
    pub(crate) const NO_OBJECT: Code = Code(ffi::WasmEdge_ErrCode_RuntimeError);

    /// The system starts no thread, of which WasmEdge needs one to make an instance. It is no code of the library's.
    pub(crate) const NO_THREAD: Code = Code(u32::MAX);

    /// The error in a result, if it is one.
    #[inline]
    pub(crate) fn check(result: ffi::WasmEdge_Result) -> Result<(), Code> {
        // The lower 24 bits are the code, the others the category.
        if result.Code == ffi::WasmEdge_ErrCode_Success { Ok(()) } else { Err(Code(result.Code)) }
    }

    /// The result by which a host function ends the guest.
    pub(crate) fn unwinding() -> ffi::WasmEdge_Result {
        // SAFETY: makes a value from two numbers.
        unsafe { ffi::WasmEdge_ResultGen(ffi::WasmEdge_ErrCategory_UserLevelError, 1) }
    }

    pub(crate) fn is_unwinding(self) -> bool {
        self.0 == Code::unwinding().Code
    }

    pub(crate) fn is(self, code: ffi::WasmEdge_ErrCode) -> bool {
        self.0 == code
    }

    /// What it means when a guest was called.
    #[cold]
    pub(crate) fn stop(self) -> Stop {
        match self.0 {
            ffi::WasmEdge_ErrCode_Interrupted => Stop::Deadline,
            ffi::WasmEdge_ErrCode_CostLimitExceeded => Stop::Fuel,
            code => match kind(code) {
                Some(kind) => Stop::trap(kind),
                None => {
                    let message = self.to_string();
                    Stop::Trap(Box::new(Trap { kind: TrapKind::Other, message, backtrace: Vec::new() }))
                }
            },
        }
    }

    /// What it means when an instance was made: a trap where the module's own segments do not fit, else the host's
    /// refusal.
    #[cold]
    pub(crate) fn instantiation(self) -> Stop {
        match self.0 {
            ffi::WasmEdge_ErrCode_DataSegDoesNotFit => Stop::trap(TrapKind::MemoryOutOfBounds),
            ffi::WasmEdge_ErrCode_ElemSegDoesNotFit => Stop::trap(TrapKind::TableOutOfBounds),
            code => match kind(code) {
                Some(kind) => Stop::trap(kind),
                None => HostError::new(format!("the instance could not be made: {self}")).into(),
            },
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Code::NO_THREAD {
            return f.write_str("no thread can be started");
        }
        // SAFETY: the text of a code is a constant of the library.
        let words = unsafe { CStr::from_ptr(ffi::WasmEdge_ResultGetMessage(ffi::WasmEdge_Result { Code: self.0 })) };
        write!(f, "{} ({:#x})", words.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn kind(code: ffi::WasmEdge_ErrCode) -> Option<TrapKind> {
    Some(match code {
        ffi::WasmEdge_ErrCode_Unreachable => TrapKind::Unreachable,
        ffi::WasmEdge_ErrCode_MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        ffi::WasmEdge_ErrCode_TableOutOfBounds | ffi::WasmEdge_ErrCode_UndefinedElement => TrapKind::TableOutOfBounds,
        ffi::WasmEdge_ErrCode_UninitializedElement => TrapKind::NullFunction,
        ffi::WasmEdge_ErrCode_IndirectCallTypeMismatch => TrapKind::BadSignature,
        ffi::WasmEdge_ErrCode_DivideByZero => TrapKind::DivisionByZero,
        ffi::WasmEdge_ErrCode_IntegerOverflow => TrapKind::IntegerOverflow,
        ffi::WasmEdge_ErrCode_InvalidConvToInt => TrapKind::BadConversion,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: ffi::WasmEdge_ErrCode) -> Code {
        Code::check(ffi::WasmEdge_Result { Code: code }).unwrap_err()
    }

    #[test]
    fn success_is_no_error_and_host_errors_are_told_from_the_engines() {
        assert!(Code::check(ffi::WasmEdge_Result { Code: 0 }).is_ok());
        assert!(Code::check(Code::unwinding()).unwrap_err().is_unwinding());
        assert!(!code(ffi::WasmEdge_ErrCode_Terminated).is_unwinding());
    }

    #[test]
    fn what_is_no_known_trap_keeps_its_words() {
        let Stop::Trap(trap) = code(ffi::WasmEdge_ErrCode_CastFailed).stop() else { panic!() };
        assert_eq!((trap.kind, trap.message.as_str()), (TrapKind::Other, "cast failure (0x418)"));
        let stop = code(ffi::WasmEdge_ErrCode_UnknownImport).instantiation();
        assert!(stop.to_string().contains("unknown import"), "{stop}");
    }
}
