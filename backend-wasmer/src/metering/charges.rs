//! Where a function takes how much from the counter.

use wasmer::sys::wasmparser::{BinaryReaderError, FunctionBody, Operator};

/// How closely work is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Once for each call of a function and each round of a loop, for the longest way through it: enough to bound the
    /// time between two looks at the clock.
    Rounds,
    /// Once for each straight piece of code: exact.
    Pieces,
}

/// Units to be taken before an operator runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The operator's number within its function.
    pub(crate) before: u32,
    pub(crate) units: u32,
}

/// The charges of a function, in the order of its operators.
pub(crate) fn charges(body: &FunctionBody<'_>, rule: Rule) -> Result<Vec<Charge>, BinaryReaderError> {
    let mut counting = Counting::new(rule);
    counting.add(locals(body)? / LOCALS_PER_UNIT);
    for operator in body.get_operators_reader()? {
        counting.operator(&operator?);
    }
    counting.charges.retain(|charge| charge.units > 0);
    Ok(counting.charges)
}

/// What comes right before an operator that Wasmer runs as a function of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Care {
    /// The operator's number within its function.
    pub(crate) before: u32,
    /// Units to be taken by the number on top of the stack, as [`bulk`] says.
    pub(crate) bulk: Option<u32>,
    /// Whether the stack must have room.
    pub(crate) room: bool,
}

/// The operators of a function that need care, in their order.
pub(crate) fn cares(body: &FunctionBody<'_>) -> Result<Vec<Care>, BinaryReaderError> {
    let mut cares = Vec::new();
    for (before, operator) in (0..).zip(body.get_operators_reader()?) {
        let operator = operator?;
        let care = Care { before, bulk: bulk(&operator), room: needs_room(&operator) };
        if care.bulk.is_some() || care.room {
            cares.push(care);
        }
    }
    Ok(cares)
}

/// For operators whose work depends on the number on top of the stack: one unit is two to the power of this many of
/// what they work on.
///
/// It is taken before the operator looks at its bounds, as there is no place between that and its work. So a size that
/// no memory has is paid as well, before the trap.
fn bulk(operator: &Operator<'_>) -> Option<u32> {
    match operator {
        Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => Some(6),
        Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. }
        | Operator::TableGrow { .. } => Some(0),
        _ => None,
    }
}

macro_rules! operators_that_need_room {
    ($($operator:ident)*) => {
        /// Whether Wasmer runs this operator as a function of its own on the guest's stack that may take a lock: to
        /// trap, it writes the frames down, which one thread of a process does at a time. Were the stack to overflow
        /// there, the lock would be held for good, and with it the next thread that traps. Other traps come by signals,
        /// which have a stack of their own.
        pub(crate) fn needs_room(operator: &Operator<'_>) -> bool {
            matches!(operator, $(Operator::$operator { .. })|*)
        }

        /// The names of all operators for which [`needs_room`] holds.
        #[cfg(test)]
        pub(crate) const NEED_ROOM: &[&str] = &[$(stringify!($operator)),*];
    };
}

operators_that_need_room! {
    Unreachable
    MemoryFill
    MemoryCopy
    MemoryInit
    TableFill
    TableCopy
    TableInit
    TableGet
    TableSet
}

/// Locals are cleared at each call.
const LOCALS_PER_UNIT: u32 = 8;

/// What an operator costs, in units of about a third of a nanosecond: one for what is an instruction or two, more for
/// what takes longer.
fn cost(operator: &Operator<'_>) -> u32 {
    match operator {
        Operator::Nop
        | Operator::Drop
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Else
        | Operator::End => 0,
        Operator::I32DivS
        | Operator::I32DivU
        | Operator::I32RemS
        | Operator::I32RemU
        | Operator::I64DivS
        | Operator::I64DivU
        | Operator::I64RemS
        | Operator::I64RemU
        | Operator::F32Div
        | Operator::F64Div
        | Operator::F32Sqrt
        | Operator::F64Sqrt
        | Operator::F32x4Div
        | Operator::F64x2Div
        | Operator::F32x4Sqrt
        | Operator::F64x2Sqrt => 10,
        Operator::Call { .. } | Operator::CallIndirect { .. } => 5,
        // These are calls of Wasmer's own functions; growing a memory asks the system for it.
        Operator::MemorySize { .. }
        | Operator::TableSize { .. }
        | Operator::TableGet { .. }
        | Operator::TableSet { .. }
        | Operator::RefFunc { .. }
        | Operator::DataDrop { .. }
        | Operator::ElemDrop { .. } => 20,
        Operator::MemoryGrow { .. } => 5_000,
        operator if bulk(operator).is_some() => 50,
        _ => 1,
    }
}

struct Counting {
    rule: Rule,
    charges: Vec<Charge>,
    /// How many operators were read.
    read: u32,
    /// The charge that what comes next adds to.
    current: usize,
    /// For each open block: the charge to go back to at its end, where it is a loop.
    open: Vec<Option<usize>>,
}

impl Counting {
    fn new(rule: Rule) -> Self {
        // The last `end` closes the function itself.
        Counting { rule, charges: vec![Charge { before: 0, units: 0 }], read: 0, current: 0, open: vec![None] }
    }

    fn operator(&mut self, operator: &Operator<'_>) {
        self.read += 1;
        self.add(cost(operator));
        match self.rule {
            Rule::Rounds => self.round(operator),
            Rule::Pieces if ends_piece(operator) => self.begin(),
            Rule::Pieces => {}
        }
    }

    fn round(&mut self, operator: &Operator<'_>) {
        match operator {
            Operator::Block { .. } | Operator::If { .. } => self.open.push(None),
            Operator::Loop { .. } => {
                self.open.push(Some(self.current));
                self.begin();
            }
            Operator::End => {
                if let Some(Some(outer)) = self.open.pop() {
                    self.current = outer;
                }
            }
            _ => {}
        }
    }

    /// A new charge before the next operator.
    fn begin(&mut self) {
        self.current = self.charges.len();
        self.charges.push(Charge { before: self.read, units: 0 });
    }

    fn add(&mut self, units: u32) {
        let charge = &mut self.charges[self.current];
        charge.units = charge.units.saturating_add(units);
    }
}

/// Whether control may come or go between this operator and the next.
fn ends_piece(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable
    )
}

fn locals(body: &FunctionBody<'_>) -> Result<u32, BinaryReaderError> {
    let mut locals = 0_u32;
    for group in body.get_locals_reader()? {
        locals = locals.saturating_add(group?.0);
    }
    Ok(locals)
}

#[cfg(test)]
mod tests {
    use wasmer::sys::wasmparser::{Parser, Payload};

    use super::*;

    fn of(body: &str, rule: Rule) -> Vec<(u32, u32)> {
        let bytes = wat::parse_str(format!("(module (memory 1) (func (param i32) {body}))")).unwrap();
        for payload in Parser::new(0).parse_all(&bytes) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                let charges = charges(&body, rule).unwrap();
                return charges.iter().map(|charge| (charge.before, charge.units)).collect();
            }
        }
        panic!("no function")
    }

    const NESTED: &str = "local.get 0 drop loop local.get 0 drop loop local.get 0 br_if 0 end local.get 0 br_if 0 end \
        local.get 0 drop";

    #[test]
    fn rounds_of_a_loop_pay_for_everything_but_inner_loops() {
        assert_eq!(of(NESTED, Rule::Rounds), [(0, 2), (3, 3), (6, 2)]);
    }

    #[test]
    fn pieces_end_where_control_comes_or_goes() {
        // The function's beginning, after each `loop`, after the inner loop's end and after the outer one's.
        assert_eq!(of(NESTED, Rule::Pieces), [(0, 1), (3, 1), (6, 2), (9, 2), (12, 1)]);
        let branches = "local.get 0 if nop local.get 0 drop else local.get 0 drop local.get 0 drop end";
        assert_eq!(of(branches, Rule::Pieces), [(0, 2), (2, 1), (6, 2)]);
        assert_eq!(of(branches, Rule::Rounds), [(0, 5)]);
    }

    #[test]
    fn blocks_and_dead_code_do_not_confuse_the_count() {
        let body = "local.get 0 drop block loop local.get 0 if block end else end \
            local.get 0 br_if 1 br 0 local.get 0 drop end end";
        assert_eq!(of(body, Rule::Rounds), [(0, 1), (4, 6)]);
    }

    #[test]
    fn what_takes_longer_costs_more() {
        assert_eq!(of("(drop (i32.div_u (local.get 0) (local.get 0)))", Rule::Rounds), [(0, 12)]);
        let clears = of("(local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)", Rule::Pieces);
        assert_eq!(clears, [(0, 2)]);
        assert!(of("", Rule::Rounds).is_empty());
    }
}
