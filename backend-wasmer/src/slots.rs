//! Values between the 64-bit slots of the engine traits and Wasmer's types.

use chassis_engine_api::{Sig, Ty};
use wasmer::{FunctionType, Type, Value};

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
    sig.params.iter().chain(&sig.result).all(|ty| value_type(*ty).is_some())
}

/// Wasmer's form of a type; types that do not fit a slot are left out (see [`fits`]).
pub(crate) fn function_type(sig: &Sig) -> FunctionType {
    FunctionType::new(
        sig.params.iter().filter_map(|ty| value_type(*ty)).collect::<Vec<_>>(),
        sig.result.iter().filter_map(|ty| value_type(*ty)).collect::<Vec<_>>(),
    )
}

/// The value of type `ty` in `slot`. A type that does not fit a slot gives zero (see [`fits`]).
pub(crate) fn to_value(ty: Ty, slot: u64) -> Value {
    match ty {
        Ty::I64 => Value::I64(slot.cast_signed()),
        Ty::F32 => Value::F32(f32::from_bits(slot as u32)),
        Ty::F64 => Value::F64(f64::from_bits(slot)),
        Ty::I32 => Value::I32(slot as i32),
        Ty::V128 | Ty::Ref => Value::I32(0),
    }
}

/// The slot of a value. A value that does not fit a slot gives zero (see [`fits`]).
pub(crate) fn from_value(value: &Value) -> u64 {
    match value {
        Value::I32(value) => value.into_slot(),
        Value::I64(value) => value.into_slot(),
        Value::F32(value) => u64::from(value.to_bits()),
        Value::F64(value) => value.to_bits(),
        _ => 0,
    }
}

fn value_type(ty: Ty) -> Option<Type> {
    match ty {
        Ty::I32 => Some(Type::I32),
        Ty::I64 => Some(Type::I64),
        Ty::F32 => Some(Type::F32),
        Ty::F64 => Some(Type::F64),
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
        assert_eq!(from_value(&to_value(Ty::F64, signalling)), signalling);
        assert_eq!(from_value(&to_value(Ty::F32, 0x7f80_0001)), 0x7f80_0001);
        assert_eq!(from_value(&to_value(Ty::I32, 0xffff_fffe)), 0xffff_fffe);
    }
}
