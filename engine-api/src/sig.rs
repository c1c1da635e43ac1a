//! Types of host functions and exports.

use std::fmt;

/// A Wasm value type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ty {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector; never part of a host function or an export that the host calls.
    V128,
    /// A reference; never part of a host function or an export that the host calls.
    Ref,
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ty::I32 => "i32",
            Ty::I64 => "i64",
            Ty::F32 => "f32",
            Ty::F64 => "f64",
            Ty::V128 => "v128",
            Ty::Ref => "ref",
        })
    }
}

/// The type of a host function or of an export: parameters and at most one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sig {
    /// Parameter types, in order.
    pub params: &'static [Ty],
    /// The result type, if there is one.
    pub result: Option<Ty>,
}

impl Sig {
    /// A type with these parameters and this result.
    pub const fn new(params: &'static [Ty], result: Option<Ty>) -> Self {
        Sig { params, result }
    }

    /// Whether this is the type with exactly these parameters and this result; usable in `const` conditions, so that
    /// a backend generates code for one shape per host function only.
    pub const fn is(&self, params: &[Ty], result: Option<Ty>) -> bool {
        if self.params.len() != params.len() {
            return false;
        }
        let mut i = 0;
        while i < params.len() {
            if self.params[i] as u8 != params[i] as u8 {
                return false;
            }
            i += 1;
        }
        match (self.result, result) {
            (None, None) => true,
            (Some(a), Some(b)) => a as u8 == b as u8,
            _ => false,
        }
    }

    /// How many slots a call of this type needs: one per parameter, and at least one for a result.
    pub const fn slots(&self) -> usize {
        let result = self.result.is_some() as usize;
        if self.params.len() > result { self.params.len() } else { result }
    }
}

impl fmt::Display for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<String> = self.params.iter().map(Ty::to_string).collect();
        write!(f, "({})", params.join(", "))?;
        match self.result {
            Some(result) => write!(f, " -> {result}"),
            None => Ok(()),
        }
    }
}

/// A handle of an export: its index in the list that was given to [`LinkPlan::new`](crate::LinkPlan::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Export(pub u8);

/// An export that the host may call. The same name may be listed with several types; at most one of them matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSpec {
    /// The export's name.
    pub name: &'static str,
    /// The type under which this entry of the list matches.
    pub sig: Sig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_itself_and_no_other() {
        const SIG: Sig = Sig::new(&[Ty::I32, Ty::I64], Some(Ty::I32));
        const SAME: bool = SIG.is(&[Ty::I32, Ty::I64], Some(Ty::I32));
        const { assert!(SAME) };
        assert!(!SIG.is(&[Ty::I32, Ty::I32], Some(Ty::I32)));
        assert!(!SIG.is(&[Ty::I32], Some(Ty::I32)));
        assert!(!SIG.is(&[Ty::I32, Ty::I64], None));
        assert_eq!(SIG.to_string(), "(i32, i64) -> i32");
    }

    #[test]
    fn a_result_needs_a_slot_of_its_own_only_without_parameters() {
        assert_eq!(Sig::new(&[], None).slots(), 0);
        assert_eq!(Sig::new(&[], Some(Ty::I32)).slots(), 1);
        assert_eq!(Sig::new(&[Ty::I32; 3], Some(Ty::I32)).slots(), 3);
    }
}
