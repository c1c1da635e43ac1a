//! One host call in progress: its arguments, checked access to the guest's memory, and its answer.
//!
//! Every pointer is judged here, with sums that cannot wrap, before a host function has any effect.

use bytes::Bytes;
use chassis_engine_api::{Caller, HostError, Stop};

use crate::board::Board;
use crate::callbacks::Callback;
use crate::state::{Phase, VmState};
use crate::status::Status;

/// Why a host function returned early: a status for the guest, or the guest's end.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Answer this.
    Status(Status),
    /// Unwind the guest.
    Stop(Stop),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Fault::Status(status)
    }
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Fault::Stop(stop)
    }
}

/// A range of the guest's memory that was checked. Memory never shrinks, so it stays valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Slice {
    /// Checks a slice against the size of the memory.
    #[inline]
    pub(crate) fn within(size: usize, pointer: u32, len: u32) -> Result<Self, Status> {
        match u64::from(pointer) + u64::from(len) <= size as u64 {
            true => Ok(Slice { start: pointer as usize, len: len as usize }),
            false => Err(Status::InvalidMemoryAccess),
        }
    }

    /// Its bytes.
    #[inline]
    pub(crate) fn of(self, memory: &[u8]) -> &[u8] {
        memory.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// A place for a number in the guest's memory that was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

impl Slot {
    /// Checks a place for a 32-bit number against the size of the memory.
    #[inline]
    pub(crate) fn within(size: usize, pointer: u32) -> Result<Self, Status> {
        Slice::within(size, pointer, 4).map(|slice| Slot(slice.start))
    }
}

/// A host call in progress.
pub(crate) struct Call<'a, C: Caller<VmState> + ?Sized> {
    caller: &'a mut C,
    args: &'a [u64],
    /// How large the memory is at least; it never shrinks.
    size: u64,
}

impl<'a, C: Caller<VmState> + ?Sized> Call<'a, C> {
    #[inline]
    pub(crate) fn new(caller: &'a mut C, args: &'a [u64]) -> Self {
        Call { caller, args, size: 0 }
    }

    /// The `i`-th parameter as the 32-bit number that it is.
    #[inline]
    pub(crate) fn arg(&self, i: usize) -> u32 {
        self.args[i] as u32
    }

    /// The `i`-th parameter as the 64-bit number that it is.
    #[inline]
    pub(crate) fn long(&self, i: usize) -> u64 {
        self.args[i]
    }

    #[inline]
    pub(crate) fn state(&mut self) -> &mut VmState {
        self.caller.state()
    }

    /// The board, which is there whenever a guest runs.
    pub(crate) fn board(&mut self) -> Result<&mut Board, Fault> {
        match self.caller.state().board.as_deref_mut() {
            Some(board) => Ok(board),
            None => Err(Fault::Stop(Stop::Host(HostError::new("the guest runs without a board")))),
        }
    }

    /// Checks the slice whose pointer and length are the parameters `i` and `i + 1`.
    #[inline]
    pub(crate) fn slice(&mut self, i: usize) -> Result<Slice, Status> {
        self.slice_at(self.arg(i), self.arg(i + 1))
    }

    /// Checks a slice of the guest's memory.
    #[inline]
    pub(crate) fn slice_at(&mut self, pointer: u32, len: u32) -> Result<Slice, Status> {
        let end = u64::from(pointer) + u64::from(len);
        if end > self.size {
            self.size = self.caller.memory().0.len() as u64;
            if end > self.size {
                return Err(Status::InvalidMemoryAccess);
            }
        }
        Ok(Slice { start: pointer as usize, len: len as usize })
    }

    /// Checks the return slot of `bytes` bytes whose pointer is the parameter `i`.
    #[inline]
    pub(crate) fn slot(&mut self, i: usize, bytes: u32) -> Result<Slot, Status> {
        self.slot_at(self.arg(i), bytes)
    }

    /// Checks a place of `bytes` bytes.
    #[inline]
    pub(crate) fn slot_at(&mut self, pointer: u32, bytes: u32) -> Result<Slot, Status> {
        self.slice_at(pointer, bytes).map(|slice| Slot(slice.start))
    }

    /// The bytes of a slice, with the state beside them.
    #[inline]
    pub(crate) fn bytes(&mut self, slice: Slice) -> (&[u8], &mut VmState) {
        let (memory, state) = self.memory();
        (slice.of(memory), state)
    }

    /// The whole memory, with the state beside it.
    #[inline]
    pub(crate) fn memory(&mut self) -> (&[u8], &mut VmState) {
        let (memory, state) = self.caller.memory();
        (memory, state)
    }

    /// A copy of a slice.
    pub(crate) fn copy(&mut self, slice: Slice) -> Bytes {
        Bytes::copy_from_slice(self.bytes(slice).0)
    }

    /// Writes bytes at a checked place; what does not fit is not written.
    pub(crate) fn write(&mut self, slot: Slot, bytes: &[u8]) {
        put(self.caller.memory().0, slot, bytes);
    }

    /// Writes a 32-bit number.
    #[inline]
    pub(crate) fn write_u32(&mut self, slot: Slot, number: u32) {
        self.write(slot, &number.to_le_bytes());
    }

    /// Writes a 64-bit number.
    pub(crate) fn write_u64(&mut self, slot: Slot, number: u64) {
        self.write(slot, &number.to_le_bytes());
    }

    /// Gives `value` to the guest in memory from its allocator; nothing is allocated for no bytes. The guest owns it.
    pub(crate) fn give(&mut self, value: &[u8], pointer: Slot, size: Slot) -> Result<Status, Fault> {
        self.give_with(value.len(), pointer, size, |out, _| out.copy_from_slice(value))
    }

    /// Gives no bytes, but an address that may be freed, if the allocator is `malloc`.
    ///
    /// AssemblyScript's SDK passes the size of its configuration as the address for the size, and then takes what it was
    /// given for an object, which a null pointer is not. No other guest wants a size at address 0.
    pub(crate) fn give_empty_object(&mut self, pointer: Slot, size: Slot) -> Result<Status, Fault> {
        let state = self.caller.state();
        if state.allocator.is_none() || state.allocator != state.exports.get(Callback::Malloc) {
            return self.give(&[], pointer, size);
        }
        let at = self.allocate(0)?;
        self.write_u32(pointer, at);
        self.write_u32(size, 0);
        Ok(Status::Ok)
    }

    /// As [`give`](Call::give), with the bytes written in place.
    pub(crate) fn give_with(
        &mut self,
        len: usize,
        pointer: Slot,
        size: Slot,
        write: impl FnOnce(&mut [u8], &mut VmState),
    ) -> Result<Status, Fault> {
        let at = if len == 0 { 0 } else { self.allocate(len)? };
        let (memory, state) = self.caller.memory();
        if len > 0 {
            let start = at as usize;
            let Some(out) = memory.get_mut(start..start + len) else { return Err(Status::InvalidMemoryAccess.into()) };
            write(out, state);
        }
        put(memory, pointer, &at.to_le_bytes());
        put(memory, size, &(len as u32).to_le_bytes());
        Ok(Status::Ok)
    }

    /// Asks the guest's allocator for memory and checks what it gave.
    fn allocate(&mut self, len: usize) -> Result<u32, Fault> {
        let len = u32::try_from(len).map_err(|_| Status::InvalidMemoryAccess)?;
        let state = self.caller.state();
        let Some(allocator) = state.allocator else { return Err(Status::InvalidMemoryAccess.into()) };
        let before = std::mem::replace(&mut state.phase, Phase::Allocator);
        let mut slots = [u64::from(len)];
        let outcome = self.caller.call(allocator, &mut slots);
        self.caller.state().phase = before;
        outcome?;
        let pointer = slots[0] as u32;
        if pointer == 0 {
            return Err(Status::InvalidMemoryAccess.into());
        }
        self.slice_at(pointer, len)?;
        Ok(pointer)
    }
}

/// Writes bytes at a checked place.
#[inline]
fn put(memory: &mut [u8], slot: Slot, bytes: &[u8]) {
    if let Some(place) = memory.get_mut(slot.0..slot.0 + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
