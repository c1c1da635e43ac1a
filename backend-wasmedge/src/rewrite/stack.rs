//! How functions count what they take of the stack.
//!
//! A global holds what is left. A function takes its part when it is entered and gives it back when it returns; one
//! that finds too little leaves the global negative, by which the host knows this trap, and traps. The stack is
//! counted in values, of which the interpreter keeps one in 16 bytes.

use super::binary::{write_const, write_u32};

/// What one call from outside may take, nested calls included: about 2 MiB.
pub(crate) const STACK: u32 = 1 << 17;

/// What a frame takes besides its values, in values; much more than it does, so that recursion is no deeper here by
/// orders of magnitude than on engines that compile.
const FRAME: u32 = 16;

/// A function that calls nobody and takes no more than this is not counted: nothing can be nested in it.
const SMALL: u32 = 512;

/// What a function takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost(u32);

impl Cost {
    /// Of a function with so many locals, and at most so many values besides; `None` if it need not be counted.
    pub(super) fn of(locals: u32, values: u32, calls: bool) -> Option<Self> {
        let cost = FRAME.saturating_add(locals).saturating_add(values).min(STACK + 1);
        (calls || cost > SMALL).then_some(Cost(cost))
    }

    /// What comes before a function's own code, with an additional local `kept` of type `i32`.
    pub(super) fn write_entry(self, written: &mut Vec<u8>, global: u32, kept: u32) {
        written.push(0x23); // global.get
        write_u32(written, global);
        write_const(written, self.0);
        written.push(0x6b); // i32.sub
        written.push(0x22); // local.tee
        write_u32(written, kept);
        written.push(0x24); // global.set
        write_u32(written, global);
        written.push(0x20); // local.get
        write_u32(written, kept);
        write_const(written, 0);
        written.push(0x48); // i32.lt_s
        written.extend_from_slice(&[0x04, 0x40, 0x00, 0x0b]); // if, unreachable, end
    }

    /// What comes after it.
    pub(super) fn write_exit(self, written: &mut Vec<u8>, global: u32, kept: u32) {
        written.push(0x20); // local.get
        write_u32(written, kept);
        write_const(written, self.0);
        written.push(0x6a); // i32.add
        written.push(0x24); // global.set
        write_u32(written, global);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_functions_that_call_nobody_are_not_counted() {
        assert!(Cost::of(10, 10, false).is_none());
        assert!(Cost::of(10, 10, true).is_some());
        assert!(Cost::of(10_000, 10, false).is_some());
    }

    #[test]
    fn no_cost_overflows_what_is_left() {
        let Some(Cost(most)) = Cost::of(u32::MAX, u32::MAX, true) else { panic!() };
        assert!(most > STACK && i32::try_from(most).is_ok());
    }
}
