//! Values between the 64-bit slots of the engine traits and WasmEdge's form.

use std::mem::MaybeUninit;

use chassis_engine_api::{Sig, Ty};
use wasmedge_sys::ffi::WasmEdge_Value;

use crate::raw::value_type;

/// The most parameters of a host function or of an export that the host calls.
pub(crate) const MAX_SLOTS: usize = 16;

/// Whether functions of this type can be host functions, or be called by the host: numbers only, and not too many.
pub(crate) const fn callable(sig: &Sig) -> bool {
    let mut i = 0;
    while i < sig.params.len() {
        if !fits(sig.params[i]) {
            return false;
        }
        i += 1;
    }
    let result = match sig.result {
        Some(ty) => fits(ty),
        None => true,
    };
    result && sig.params.len() <= MAX_SLOTS
}

const fn fits(ty: Ty) -> bool {
    !matches!(ty, Ty::V128 | Ty::Ref)
}

/// The slot as a value of this type.
#[inline]
pub(crate) fn to_value(ty: Ty, slot: u64) -> WasmEdge_Value {
    WasmEdge_Value { Value: u128::from(truncated(ty, slot)), Type: value_type(ty) }
}

/// The slot of a value of this type. What WasmEdge leaves in the rest of it is not defined.
#[inline]
pub(crate) fn from_value(ty: Ty, value: &WasmEdge_Value) -> u64 {
    truncated(ty, value.Value as u64)
}

#[inline]
fn truncated(ty: Ty, slot: u64) -> u64 {
    if matches!(ty, Ty::I32 | Ty::F32) { u64::from(slot as u32) } else { slot }
}

/// Room for a call's parameters.
pub(crate) struct Params([MaybeUninit<WasmEdge_Value>; MAX_SLOTS]);

impl Params {
    /// The parameters of a call of this type, which is [`callable`].
    ///
    /// # Panics
    /// If `slots` is too short.
    #[inline]
    pub(crate) fn new(sig: &Sig, slots: &[u64]) -> Self {
        let mut values = [const { MaybeUninit::uninit() }; MAX_SLOTS];
        for ((value, slot), ty) in values.iter_mut().zip(&slots[..sig.params.len()]).zip(sig.params) {
            value.write(to_value(*ty, *slot));
        }
        Params(values)
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const WasmEdge_Value {
        self.0.as_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_i32_is_zero_extended_and_floats_keep_their_bits() {
        assert_eq!(from_value(Ty::I32, &to_value(Ty::I32, u64::MAX)), 0xffff_ffff);
        assert_eq!(from_value(Ty::F32, &to_value(Ty::F32, 0x1234_5678_7f80_0001)), 0x7f80_0001);
        for ty in [Ty::I64, Ty::F64] {
            assert_eq!(from_value(ty, &to_value(ty, 0x7ff0_0000_0000_0001)), 0x7ff0_0000_0000_0001);
        }
        assert!(!callable(&Sig::new(&[Ty::I32; 17], None)));
        assert!(!callable(&Sig::new(&[], Some(Ty::V128))));
    }
}
