//! What an instance and its host functions share.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use chassis_engine_api::{Export, Meter};
use wasmer::Memory;

use crate::instance::Handle;
use crate::metering::Spending;
use crate::stop::Parked;

/// What an instance holds besides its store.
pub(crate) struct Data<S> {
    state: S,
    meter: Meter,
    parked: Option<Parked>,
    /// How many guest calls are nested in host functions at this moment.
    nesting: u32,
    /// `None` while the instance is made.
    spending: Option<Spending>,
    exports: Exports,
}

/// What is found when an instance is made, and does not change any more.
#[derive(Default)]
pub(crate) struct Exports {
    pub(crate) memory: Option<Memory>,
    /// By [`Export`].
    pub(crate) handles: Box<[Option<Handle>]>,
    /// By how much function bodies have moved within the module's bytes.
    pub(crate) moved: usize,
}

/// A pointer to the data of an instance. The instance owns it ([`Owner`]); each of its host functions has a copy.
///
/// The references given out here are to single fields, and whoever asks for one is done with it before the guest or
/// another host function of the instance runs, but for [`Shared::exports`]: those are written while no code of the
/// guest can run, and only read afterwards.
pub(crate) struct Shared<S>(NonNull<Data<S>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Shared<S> {}

// SAFETY: a `Shared` is a `Data` that moves between threads with its instance; it is used by the thread that has the
// instance (by `&mut`), or that runs one of its host functions on behalf of it.
unsafe impl<S: Send> Send for Shared<S> {}
// SAFETY: Wasmer asks it of host functions. It never uses one on two threads at once, as that takes the store by `&mut`.
unsafe impl<S: Send> Sync for Shared<S> {}

/// The data's owner, which frees it.
pub(crate) struct Owner<S>(Shared<S>);

impl<S> Owner<S> {
    pub(crate) fn new(state: S) -> Self {
        let data = Data {
            state,
            meter: Meter::unlimited(),
            parked: None,
            nesting: 0,
            spending: None,
            exports: Exports::default(),
        };
        Owner(Shared(NonNull::from(Box::leak(Box::new(data)))))
    }

    /// A pointer for a host function, which must not run when the owner is gone.
    #[inline]
    pub(crate) fn shared(&self) -> Shared<S> {
        self.0
    }

    #[inline]
    pub(crate) fn state(&mut self) -> &mut S {
        self.0.state()
    }

    #[inline]
    pub(crate) fn memory<'a>(&'a mut self, store: &'a mut wasmer::Store) -> (&'a mut [u8], &'a mut S) {
        self.0.memory(store)
    }

    pub(crate) fn into_state(self) -> S {
        let owner = ManuallyDrop::new(self);
        // SAFETY: `new` leaked this box, and the owner is not dropped for a second time.
        unsafe { Box::from_raw(owner.0.0.as_ptr()) }.state
    }
}

impl<S> Drop for Owner<S> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box, and no host function runs any more that has a copy.
        drop(unsafe { Box::from_raw(self.0.0.as_ptr()) });
    }
}

impl<S> Shared<S> {
    #[inline]
    pub(crate) fn state(&mut self) -> &mut S {
        // SAFETY: the data lives as long as any host function can run; see the type for why nobody else refers to this
        // field meanwhile.
        unsafe { &mut (*self.0.as_ptr()).state }
    }

    #[inline]
    pub(crate) fn meter(&mut self) -> &mut Meter {
        // SAFETY: as in `state`.
        unsafe { &mut (*self.0.as_ptr()).meter }
    }

    #[inline]
    pub(crate) fn nesting(&mut self) -> &mut u32 {
        // SAFETY: as in `state`.
        unsafe { &mut (*self.0.as_ptr()).nesting }
    }

    pub(crate) fn parked(&mut self) -> &mut Option<Parked> {
        // SAFETY: as in `state`.
        unsafe { &mut (*self.0.as_ptr()).parked }
    }

    pub(crate) fn spending(&mut self) -> Option<&mut Spending> {
        // SAFETY: as in `state`.
        unsafe { &mut (*self.0.as_ptr()).spending }.as_mut()
    }

    /// What was found when the instance was made. Its lifetime is not that of this copy: calls into the guest refer to
    /// it while host functions have others.
    #[inline]
    pub(crate) fn exports<'a>(self) -> &'a Exports
    where
        S: 'a,
    {
        // SAFETY: written by `found` only, before the first call; calls end before the data does.
        unsafe { &(*self.0.as_ptr()).exports }
    }

    #[inline]
    pub(crate) fn has(self, export: Export) -> bool {
        matches!(self.exports().handles.get(usize::from(export.0)), Some(Some(_)))
    }

    /// Takes down what was found.
    ///
    /// # Safety
    /// The instance is being made: no code of the guest runs or has run, so nothing refers to its exports.
    pub(crate) unsafe fn found(self, exports: Exports, spending: Spending) {
        // SAFETY: by the caller's promise there is no other reference.
        let data = unsafe { &mut *self.0.as_ptr() };
        data.exports = exports;
        data.spending = Some(spending);
    }

    /// The memory and the state, of which the memory may be written as long as `store` is borrowed.
    #[inline]
    pub(crate) fn memory<'a>(&'a mut self, store: &'a mut impl wasmer::AsStoreMut) -> (&'a mut [u8], &'a mut S) {
        let Some(memory) = &self.exports().memory else {
            return (&mut [], self.state());
        };
        let view = memory.view(store);
        // SAFETY: Wasmer keeps so many bytes there until the memory grows or its store goes, for both of which the
        // store must be had. Nobody else has a reference to them, as that takes the store as well.
        let bytes = unsafe { view.data_unchecked_mut() };
        // SAFETY: as before; the view was only needed to find them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr(), bytes.len()) };
        (bytes, self.state())
    }
}
