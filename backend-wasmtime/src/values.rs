//! Slots to and from the form in which compiled code takes and gives values.
//!
//! Every value of the types that may cross fits in 64 bits and is stored in little-endian form, so that a parameter
//! can be written whatever its type: code that takes an `i32` reads the lower half only.

use std::mem::MaybeUninit;

use chassis_engine_api::{Sig, Ty};
use wasmtime::{Func, FuncType, StoreContextMut, ValRaw, ValType};

/// The most parameters of a host function or of an export that the host calls.
pub(crate) const MAX_SLOTS: usize = 16;

/// What nearly all callbacks have of parameters, at most.
const FEW: usize = 3;

/// An exported function whose type was compared with `sig` when it was found.
#[derive(Clone, Copy)]
pub(crate) struct Callee {
    func: Func,
    params: u8,
    result: Width,
}

/// How much of a raw value a result is; the rest of it is not defined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    None,
    Bits32,
    Bits64,
}

impl Callee {
    /// `None` if `func` is of another type than `sig`, or of one that a host cannot call.
    pub(crate) fn new(func: Func, store: impl wasmtime::AsContext, sig: &Sig) -> Option<Self> {
        let fits = callable(sig) && is(&func.ty(&store), sig);
        let result = match sig.result {
            None => Width::None,
            Some(Ty::I32 | Ty::F32) => Width::Bits32,
            Some(_) => Width::Bits64,
        };
        fits.then_some(Callee { func, params: sig.params.len() as u8, result })
    }

    /// Calls the function with parameters from `slots` and leaves its result in `slots[0]`.
    ///
    /// # Panics
    /// If `slots` is too short.
    #[inline(always)]
    pub(crate) fn call<T: 'static>(&self, store: StoreContextMut<'_, T>, slots: &mut [u64]) -> wasmtime::Result<()> {
        let params = usize::from(self.params);
        let mut values = [MaybeUninit::<ValRaw>::uninit(); MAX_SLOTS];
        match slots.first_chunk::<FEW>() {
            // Nearly always: as many copies however many are needed, so nothing to decide.
            Some(few) if params <= FEW => copy(few, &mut values),
            _ => {
                values[0].write(ValRaw::u64(0));
                copy(&slots[..params], &mut values);
            }
        }
        let space = std::ptr::slice_from_raw_parts_mut(values.as_mut_ptr().cast::<ValRaw>(), MAX_SLOTS);
        // SAFETY: `space` is a valid array, `new` made sure that the function has `params` parameters and at most one
        // result, all numbers, and that they fit the array; the parameters are initialised above. Wasmtime's async
        // calls, from which this must not come, are not compiled in.
        unsafe { self.func.call_unchecked(store, space) }?;
        // SAFETY: initialised above.
        let value = unsafe { values[0].assume_init_ref() };
        match self.result {
            Width::Bits32 => slots[0] = u64::from(value.get_u32()),
            Width::Bits64 => slots[0] = value.get_u64(),
            Width::None => {}
        }
        Ok(())
    }
}

#[inline(always)]
fn copy(slots: &[u64], values: &mut [MaybeUninit<ValRaw>; MAX_SLOTS]) {
    for (value, slot) in values.iter_mut().zip(slots) {
        value.write(ValRaw::u64(*slot));
    }
}

/// Copies the parameters of a host function of type `sig` into slots.
///
/// # Safety
/// `values` must be what compiled code passed to a function of this type.
#[inline]
pub(crate) unsafe fn read_params(sig: &Sig, values: &[MaybeUninit<ValRaw>], slots: &mut [u64]) {
    for ((slot, value), ty) in slots.iter_mut().zip(values).zip(sig.params) {
        // SAFETY: the caller's promise: a parameter of type `ty` is there.
        *slot = read(unsafe { value.assume_init_ref() }, *ty);
    }
}

/// Leaves the result of a host function of type `sig`, which is in `slots[0]`, to compiled code.
#[inline]
pub(crate) fn write_result(sig: &Sig, slots: &[u64], values: &mut [MaybeUninit<ValRaw>]) {
    if sig.result.is_some() {
        values[0].write(ValRaw::u64(slots[0]));
    }
}

/// Whether values of this type can cross in slots.
pub(crate) const fn callable(sig: &Sig) -> bool {
    let mut i = 0;
    while i < sig.params.len() {
        if !is_number(sig.params[i]) {
            return false;
        }
        i += 1;
    }
    let result = match sig.result {
        Some(ty) => is_number(ty),
        None => true,
    };
    result && sig.params.len() <= MAX_SLOTS
}

/// The type in Wasmtime's terms; `None` if it is not one that can cross in slots.
pub(crate) fn func_type(engine: &wasmtime::Engine, sig: &Sig) -> Option<FuncType> {
    let params = sig.params.iter().map(|ty| val_type(*ty)).collect::<Option<Vec<_>>>()?;
    let result = match sig.result {
        Some(ty) => Some(val_type(ty)?),
        None => None,
    };
    callable(sig).then(|| FuncType::new(engine, params, result))
}

/// Whether `ty` is `sig`.
pub(crate) fn is(ty: &FuncType, sig: &Sig) -> bool {
    let same = |a: ValType, b: Ty| val_type(b).is_some_and(|b| ValType::eq(&a, &b));
    let params = ty.params().len() == sig.params.len() && ty.params().zip(sig.params).all(|(a, b)| same(a, *b));
    let mut results = ty.results();
    params
        && match (results.next(), sig.result) {
            (None, None) => true,
            (Some(a), Some(b)) => results.next().is_none() && same(a, b),
            _ => false,
        }
}

#[inline]
fn read(value: &ValRaw, ty: Ty) -> u64 {
    match ty {
        Ty::I32 | Ty::F32 => u64::from(value.get_u32()),
        _ => value.get_u64(),
    }
}

const fn is_number(ty: Ty) -> bool {
    matches!(ty, Ty::I32 | Ty::I64 | Ty::F32 | Ty::F64)
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
