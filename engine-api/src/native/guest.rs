//! What a guest in Rust is, and what it sees of its instance.

use crate::stop::Stop;

/// A guest in Rust: one value per instance.
///
/// It is called through `&self` because a host function may call it again while it waits for that host function. What
/// it must remember goes into the memory or into [`Cell`](std::cell::Cell)s.
pub trait Guest: Send {
    /// Runs an export. `slots` is as long as its type needs: the parameters (an `i32` is zero-extended), and room for
    /// a result, which goes to `slots[0]`.
    ///
    /// # Errors
    /// Whatever should end the call; `Stop::trap` stands for a trap of a Wasm guest. Errors of `host` should be passed
    /// on.
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop>;
}

/// What a guest sees of its instance.
pub trait Host {
    /// The guest's memory; empty if its module has none.
    fn memory(&mut self) -> &mut [u8];

    /// Grows the memory by `pages` of 64 KiB and answers its former size in pages, or `None` (and no change) if that
    /// is beyond the module's own maximum, the limits of the instance or what the system can give.
    fn grow(&mut self, pages: u32) -> Option<u32>;

    /// Calls a host function that the module imports. Parameters are in `slots`, the result is left in `slots[0]`.
    ///
    /// # Errors
    /// What the host function answers, [`Stop::Deadline`] or [`Stop::Fuel`] if the call is over before it begins, and
    /// [`Stop::Host`] if the module does not import the function or `slots` is too short for it.
    fn import(&mut self, module: &str, name: &str, slots: &mut [u64]) -> Result<(), Stop>;

    /// Looks at the deadline and spends one unit of fuel; a loop without host calls must call this.
    ///
    /// # Errors
    /// [`Stop::Deadline`] or [`Stop::Fuel`] if the call is over; the guest must return it.
    fn checkpoint(&mut self) -> Result<(), Stop>;
}
