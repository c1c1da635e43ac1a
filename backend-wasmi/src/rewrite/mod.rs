//! Two things that wasmi cannot do in slices are written differently before it sees a module.
//!
//! A start section becomes an export that is called like any other; a `table.grow` becomes a call of a function that
//! does nothing else. Neither can be noticed by the guest.

mod start;
mod table_grow;

use std::borrow::Cow;
use std::sync::Arc;

use chassis_engine_api::CheckedModule;
use wasmparser::BinaryReaderError;

/// A module in the form that wasmi gets.
pub(crate) struct Rewritten<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// The name under which the start function is exported.
    pub(crate) start: Option<Arc<str>>,
}

pub(crate) fn rewrite(module: &CheckedModule) -> Result<Rewritten<'_>, BinaryReaderError> {
    let (bytes, start) = start::as_export(module);
    let bytes = match table_grow::as_calls(&bytes)? {
        Some(changed) => Cow::Owned(changed),
        None => bytes,
    };
    Ok(Rewritten { bytes, start })
}
