//! Why a guest call ended before its return.

use std::fmt;

use crate::host::HostError;

/// Why a guest call ended early. Whatever the variant, the instance must not be called again by a careful host: the
/// guest's own data structures may be half changed.
#[derive(Debug)]
pub enum Stop {
    /// The guest asked to end (`proc_exit`), with its exit code.
    Exit(i32),
    /// A host function gave up.
    Host(HostError),
    /// The guest did something that Wasm forbids.
    Trap(Box<Trap>),
    /// The fuel of the [`Budget`](crate::Budget) was used up.
    Fuel,
    /// The ticks of the [`Budget`](crate::Budget) were used up.
    Deadline,
}

impl Stop {
    /// The kind in one lower-case word: `exit`, `host`, `trap`, `fuel` or `deadline`.
    pub fn kind(&self) -> &'static str {
        match self {
            Stop::Exit(_) => "exit",
            Stop::Host(_) => "host",
            Stop::Trap(_) => "trap",
            Stop::Fuel => "fuel",
            Stop::Deadline => "deadline",
        }
    }

    /// A trap without a backtrace.
    pub fn trap(kind: TrapKind) -> Self {
        Stop::Trap(Box::new(Trap { kind, message: String::new(), backtrace: Vec::new() }))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Exit(code) => write!(f, "the guest exited with code {code}"),
            Stop::Host(error) => write!(f, "{error}"),
            Stop::Trap(trap) => write!(f, "{trap}"),
            Stop::Fuel => f.write_str("out of fuel"),
            Stop::Deadline => f.write_str("deadline exceeded"),
        }
    }
}

impl std::error::Error for Stop {}

/// A Wasm trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// What happened, in terms that all engines share.
    pub kind: TrapKind,
    /// The engine's own words, where they say more than the kind; may be empty.
    pub message: String,
    /// The guest's frames, innermost first; empty where the engine cannot tell.
    pub backtrace: Vec<Frame>,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trap: {}", self.kind)?;
        if !self.message.is_empty() {
            write!(f, " ({})", self.message)?;
        }
        Ok(())
    }
}

/// The kind of a trap, the same on every engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrapKind {
    /// The `unreachable` instruction: an abort, a panic.
    Unreachable,
    /// A load, store or bulk operation outside the memory.
    MemoryOutOfBounds,
    /// An access outside a table.
    TableOutOfBounds,
    /// `call_indirect` through an empty table element.
    NullFunction,
    /// `call_indirect` with another type than the function has.
    BadSignature,
    /// Calls nested too deeply.
    StackOverflow,
    /// Integer division by zero.
    DivisionByZero,
    /// Integer overflow in a division.
    IntegerOverflow,
    /// A float that does not fit the integer it is converted to.
    BadConversion,
    /// Anything else; the message says what.
    Other,
}

impl TrapKind {
    /// The kind in lower-case words.
    pub fn as_str(self) -> &'static str {
        match self {
            TrapKind::Unreachable => "unreachable",
            TrapKind::MemoryOutOfBounds => "memory access out of bounds",
            TrapKind::TableOutOfBounds => "table access out of bounds",
            TrapKind::NullFunction => "call of an empty table element",
            TrapKind::BadSignature => "indirect call with a wrong type",
            TrapKind::StackOverflow => "call stack exhausted",
            TrapKind::DivisionByZero => "integer division by zero",
            TrapKind::IntegerOverflow => "integer overflow",
            TrapKind::BadConversion => "invalid conversion to integer",
            TrapKind::Other => "other",
        }
    }
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One guest frame of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The function's index in the module, imported functions included.
    pub function: u32,
    /// The function's name from the name section, demangled.
    pub name: Option<String>,
    /// The offset of the instruction in the module's bytes.
    pub offset: Option<u64>,
}

impl Frame {
    /// A frame whose `name` is demangled as a Rust symbol where it is one.
    pub fn new(function: u32, name: Option<&str>, offset: Option<u64>) -> Self {
        Frame { function, name: name.map(|name| format!("{:#}", rustc_demangle::demangle(name))), offset }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "function {}", self.function)?,
        }
        match self.offset {
            Some(offset) => write!(f, " at {offset:#x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_demangled_names() {
        let frame = Frame::new(7, Some("_ZN4core9panicking5panic17h0123456789abcdefE"), Some(16));
        assert_eq!(frame.to_string(), "core::panicking::panic at 0x10");
        assert_eq!(Frame::new(3, None, None).to_string(), "function 3");
        assert_eq!(Frame::new(3, Some("plain_c"), None).to_string(), "plain_c");
    }
}
