//! Puts the charges into functions while they are compiled, and has them look for room on the stack.

use std::sync::Arc;

use wasmer::LocalFunctionIndex;
use wasmer::sys::wasmparser::{BinaryReaderError, BlockType, Operator, Parser, Payload};
use wasmer::sys::{FunctionMiddleware, MiddlewareError, MiddlewareReaderState, ModuleMiddleware};

use super::additions::{Additions, FUNCTIONS, Indices};
use super::charges::{Care, Charge, Rule, cares, charges};

/// How many levels of `room` the stack must have left for Wasmer's own functions, one more than this: 24 KiB at least,
/// of which they take some three.
const ROOM: i32 = 2;

/// The charges of a whole module.
#[derive(Debug)]
pub(crate) struct Metering {
    functions: Vec<Places>,
    indices: Indices,
}

/// Where a function gets code.
#[derive(Debug, Default, Clone)]
struct Places {
    charges: Arc<[Charge]>,
    cares: Arc<[Care]>,
}

impl Metering {
    pub(crate) fn new(module: &Additions, rule: Rule) -> Result<Self, BinaryReaderError> {
        let mut functions = Vec::new();
        for payload in Parser::new(0).parse_all(&module.bytes) {
            if let Payload::CodeSectionEntry(body) = payload? {
                functions.push(Places { charges: charges(&body, rule)?.into(), cares: cares(&body)?.into() });
            }
        }
        // The function that calls the host must not call itself for more, nor do its neighbours.
        functions.truncate(functions.len().saturating_sub(FUNCTIONS));
        Ok(Metering { functions, indices: module.indices })
    }
}

impl ModuleMiddleware for Metering {
    fn generate_function_middleware<'a>(&self, function: LocalFunctionIndex) -> Box<dyn FunctionMiddleware<'a> + 'a> {
        let places = self.functions.get(function.as_u32() as usize).cloned().unwrap_or_default();
        Box::new(Inserting { places, indices: self.indices, passed: 0, next_charge: 0, next_care: 0 })
    }
}

#[derive(Debug)]
struct Inserting {
    places: Places,
    indices: Indices,
    /// How many operators went by.
    passed: u32,
    next_charge: usize,
    next_care: usize,
}

impl<'a> FunctionMiddleware<'a> for Inserting {
    fn feed(&mut self, operator: Operator<'a>, state: &mut MiddlewareReaderState<'a>) -> Result<(), MiddlewareError> {
        if self.passed == 0 {
            self.prepare(state);
        }
        self.passed += 1;
        state.push_operator(operator);
        // Right behind this operator, not before the next one: the compiler takes what is fed together for one place in
        // the module, and the next operator is to have its own.
        self.prepare(state);
        Ok(())
    }
}

impl Inserting {
    /// Does what is due before the next operator.
    fn prepare(&mut self, state: &mut MiddlewareReaderState<'_>) {
        let Places { charges, cares } = &self.places;
        if let Some(charge) = charges.get(self.next_charge).filter(|charge| charge.before == self.passed) {
            self.next_charge += 1;
            state.extend(self.take([Operator::I64Const { value: i64::from(charge.units) }]));
        }
        if let Some(care) = cares.get(self.next_care).filter(|care| care.before == self.passed) {
            self.next_care += 1;
            self.take_care(*care, state);
        }
    }

    fn take_care(&self, care: Care, state: &mut MiddlewareReaderState<'_>) {
        if let Some(shift) = care.bulk {
            let number = self.indices.number;
            state.push_operator(Operator::GlobalSet { global_index: number });
            state.extend(self.take([
                Operator::GlobalGet { global_index: number },
                Operator::I64ExtendI32U,
                Operator::I64Const { value: i64::from(shift) },
                Operator::I64ShrU,
            ]));
            state.push_operator(Operator::GlobalGet { global_index: number });
        }
        if care.room {
            state.push_operator(Operator::I32Const { value: ROOM });
            state.push_operator(Operator::Call { function_index: self.indices.room });
        }
    }

    /// Takes as many units from the counter as `units` leave on the stack, and calls the host if it is below zero then.
    fn take<'a, const N: usize>(&self, units: [Operator<'a>; N]) -> impl Iterator<Item = Operator<'a>> + use<'a, N> {
        let Indices { refill, counter, .. } = self.indices;
        let head = [Operator::GlobalGet { global_index: counter }];
        let tail = [
            Operator::I64Sub,
            Operator::GlobalSet { global_index: counter },
            Operator::GlobalGet { global_index: counter },
            Operator::I64Const { value: 0 },
            Operator::I64LtS,
            Operator::If { blockty: BlockType::Empty },
            Operator::Call { function_index: refill },
            Operator::End,
        ];
        head.into_iter().chain(units).chain(tail)
    }
}
