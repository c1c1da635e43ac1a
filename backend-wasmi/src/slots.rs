//! Values between the 64-bit slots of the engine traits and wasmi's types.

use chassis_engine_api::{Sig, Ty};
use wasmi::{F32, F64, FuncType, Val, ValType};

/// A Wasm value as a Rust type.
pub(crate) trait Slot: Sized {
    const TY: Ty;
    fn from_slot(slot: u64) -> Self;
    fn into_slot(self) -> u64;
}

impl Slot for i32 {
    const TY: Ty = Ty::I32;

    #[inline]
    fn from_slot(slot: u64) -> Self {
        slot as i32
    }

    #[inline]
    fn into_slot(self) -> u64 {
        u64::from(self.cast_unsigned())
    }
}

impl Slot for i64 {
    const TY: Ty = Ty::I64;

    #[inline]
    fn from_slot(slot: u64) -> Self {
        slot.cast_signed()
    }

    #[inline]
    fn into_slot(self) -> u64 {
        self.cast_unsigned()
    }
}

/// What a function returns: nothing or one value.
pub(crate) trait SlotResult: Sized {
    const TY: Option<Ty>;
    fn from_slots(slots: &[u64]) -> Self;
    fn into_slots(self, slots: &mut [u64]);
}

impl SlotResult for () {
    const TY: Option<Ty> = None;

    #[inline]
    fn from_slots(_slots: &[u64]) -> Self {}

    #[inline]
    fn into_slots(self, _slots: &mut [u64]) {}
}

impl<T: Slot> SlotResult for T {
    const TY: Option<Ty> = Some(T::TY);

    #[inline]
    fn from_slots(slots: &[u64]) -> Self {
        T::from_slot(slots[0])
    }

    #[inline]
    fn into_slots(self, slots: &mut [u64]) {
        slots[0] = T::into_slot(self);
    }
}

/// Whether every type of `sig` fits a slot: vectors and references do not.
pub(crate) fn fits(sig: &Sig) -> bool {
    sig.params.iter().chain(&sig.result).all(|ty| val_type(*ty).is_some())
}

/// wasmi's form of a type; types that do not fit a slot are left out (see [`fits`]).
pub(crate) fn func_type(sig: &Sig) -> FuncType {
    FuncType::new(
        sig.params.iter().filter_map(|ty| val_type(*ty)).collect::<Vec<_>>(),
        sig.result.iter().filter_map(|ty| val_type(*ty)).collect::<Vec<_>>(),
    )
}

/// The value of type `ty` in `slot`. A type that does not fit a slot gives zero (see [`fits`]).
pub(crate) fn to_val(ty: Ty, slot: u64) -> Val {
    match ty {
        Ty::I64 => Val::I64(slot.cast_signed()),
        Ty::F32 => Val::F32(F32::from_bits(slot as u32)),
        Ty::F64 => Val::F64(F64::from_bits(slot)),
        Ty::I32 => Val::I32(slot as i32),
        Ty::V128 | Ty::Ref => Val::I32(0),
    }
}

/// The slot of a value. A value that does not fit a slot gives zero (see [`fits`]).
pub(crate) fn from_val(val: &Val) -> u64 {
    match val {
        Val::I32(value) => value.into_slot(),
        Val::I64(value) => value.into_slot(),
        Val::F32(value) => u64::from(value.to_bits()),
        Val::F64(value) => value.to_bits(),
        _ => 0,
    }
}

fn val_type(ty: Ty) -> Option<ValType> {
    match ty {
        Ty::I32 => Some(ValType::I32),
        Ty::I64 => Some(ValType::I64),
        Ty::F32 => Some(ValType::F32),
        Ty::F64 => Some(ValType::F64),
        Ty::V128 | Ty::Ref => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_i32_is_zero_extended_and_floats_keep_their_bits() {
        assert_eq!((-1_i32).into_slot(), 0xffff_ffff);
        assert_eq!(i32::from_slot(0xffff_ffff), -1);
        assert_eq!((-1_i64).into_slot(), u64::MAX);
        let signalling = 0x7ff0_0000_0000_0001;
        assert_eq!(from_val(&to_val(Ty::F64, signalling)), signalling);
        assert_eq!(from_val(&to_val(Ty::F32, 0x7f80_0001)), 0x7f80_0001);
        assert_eq!(from_val(&to_val(Ty::I32, 0xffff_fffe)), 0xffff_fffe);
    }
}
