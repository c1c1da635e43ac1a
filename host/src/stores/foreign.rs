//! The functions that plugins can call by name.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{ForeignCall, ForeignError};
use parking_lot::RwLock;

/// A function that plugins can call by `proxy_call_foreign_function`. Closures are such.
///
/// It runs on a worker's thread while the guest waits: it must not block, and counts against the guest's deadline. What
/// takes longer takes a [`callback`](ForeignCall::callback) and answers later.
pub trait ForeignFunction: Send + Sync {
    /// Runs it; the answer is what the guest gets.
    ///
    /// # Errors
    /// What the guest gets as a status.
    fn call(&self, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError>;
}

impl<F> ForeignFunction for F
where
    F: Fn(&mut ForeignCall<'_>) -> Result<Bytes, ForeignError> + Send + Sync,
{
    fn call(&self, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
        self(call)
    }
}

#[derive(Default)]
pub(super) struct ForeignFunctions(RwLock<ByName>);

type ByName = HashMap<Box<[u8]>, Arc<dyn ForeignFunction>>;

impl ForeignFunctions {
    pub(super) fn register(&self, name: &[u8], function: Arc<dyn ForeignFunction>) {
        self.0.write().insert(name.into(), function);
    }

    pub(super) fn call(&self, call: &mut ForeignCall<'_>) -> Result<Bytes, ForeignError> {
        let function = self.0.read().get(call.name).cloned();
        function.ok_or(ForeignError::NotFound)?.call(call)
    }
}
