//! One function: what is read of it, and how it is written.

use std::collections::BTreeMap;
use std::ops::Range;

use chassis_engine_api::binary::{read_number, write_number};
use wasmparser::{BinaryReaderError, FuncValidator, FunctionBody, Operator, OperatorsReader, ValType};
use wasmparser::{ValidatorResources, WasmModuleResources};

use super::binary::{value_type, write_u32};
use super::stack::Cost;
use super::table_grow::Growers;

/// A function of the module.
pub(super) struct Function {
    /// Its body: locals and code.
    range: Range<usize>,
    /// Where its code begins.
    code: usize,
    /// Parameters included.
    locals: u32,
    results: Vec<ValType>,
    cost: Option<Cost>,
    changes: Vec<Change>,
}

/// An instruction that is written differently.
struct Change {
    range: Range<usize>,
    to: Into,
}

enum Into {
    /// Nothing is taken away here, a branch is added: where WasmEdge looks whether the call was cancelled.
    Poll,
    /// `return` at so many blocks deep.
    Branch(u32),
    /// `table.grow` of this table.
    Grower(u32),
}

impl Function {
    pub(super) fn read(
        body: &FunctionBody<'_>,
        validator: &mut FuncValidator<ValidatorResources>,
        growers: &mut Growers,
    ) -> Result<Self, BinaryReaderError> {
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let code = reader.original_position();
        let mut changes: Vec<Change> = Vec::new();
        let mut open: Option<(usize, Into)> = None;
        let (mut depth, mut calls, mut values) = (0_u32, false, 0);
        let mut operators = OperatorsReader::new(reader);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            // Each instruction ends where the next begins; the last is always an `end`.
            if let Some((begin, to)) = open.take() {
                changes.push(Change { range: begin..offset, to });
            }
            validator.op(offset, &operator)?;
            values = values.max(validator.operand_stack_height());
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
                Operator::End => depth = depth.saturating_sub(1),
                Operator::Call { .. } | Operator::CallIndirect { .. } => calls = true,
                Operator::Return => open = Some((offset, Into::Branch(depth))),
                Operator::TableGrow { table } => {
                    growers.want(table);
                    calls = true;
                    open = Some((offset, Into::Grower(table)));
                }
                // Each of them may take milliseconds, and a body has room for a hundred thousand in a row.
                Operator::MemoryFill { .. }
                | Operator::MemoryCopy { .. }
                | Operator::MemoryInit { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. } => changes.push(Change { range: offset..offset, to: Into::Poll }),
                _ => {}
            }
        }
        operators.finish()?;
        let locals = validator.len_locals();
        let cost = Cost::of(locals, values, calls);
        if cost.is_none() {
            changes.retain(|change| matches!(change.to, Into::Poll));
        }
        Ok(Function { range: body.range(), code, locals, results: results(validator), cost, changes })
    }

    /// Whether it counts what it takes of the stack.
    pub(super) fn is_counted(&self) -> bool {
        self.cost.is_some()
    }

    pub(super) fn results(&self) -> &[ValType] {
        &self.results
    }

    /// The function's new body. `types` are the types of blocks with several results, `grower` says which function
    /// grows a table.
    pub(super) fn write(
        &self,
        bytes: &[u8],
        global: u32,
        types: &BTreeMap<&[ValType], u32>,
        grower: impl Fn(u32) -> u32,
    ) -> Vec<u8> {
        let mut written = Vec::with_capacity(self.range.len() + 48);
        let Some(cost) = self.cost else {
            written.extend_from_slice(&bytes[self.range.start..self.code]);
            self.write_code(&mut written, bytes, grower);
            return written;
        };
        let (groups, declared) = read_number(&bytes[self.range.start..self.code]);
        write_number(&mut written, groups + 1);
        written.extend_from_slice(declared);
        written.extend_from_slice(&[1, value_type(ValType::I32)]);
        cost.write_entry(&mut written, global, self.locals);
        // The function's own code in a block: to return is to leave it.
        written.push(0x02);
        self.write_block_type(&mut written, types);
        // Its last `end` ends the block.
        self.write_code(&mut written, bytes, grower);
        cost.write_exit(&mut written, global, self.locals);
        written.push(0x0b);
        written
    }

    /// The function's own code with its changes.
    fn write_code(&self, written: &mut Vec<u8>, bytes: &[u8], grower: impl Fn(u32) -> u32) {
        let mut from = self.code;
        for Change { range, to } in &self.changes {
            written.extend_from_slice(&bytes[from..range.start]);
            match to {
                // block, br 0, end
                Into::Poll => written.extend_from_slice(&[0x02, 0x40, 0x0c, 0, 0x0b]),
                Into::Branch(depth) => {
                    written.push(0x0c);
                    write_u32(written, *depth);
                }
                Into::Grower(table) => {
                    written.push(0x10);
                    write_u32(written, grower(*table));
                }
            }
            from = range.end;
        }
        written.extend_from_slice(&bytes[from..self.range.end]);
    }

    fn write_block_type(&self, written: &mut Vec<u8>, types: &BTreeMap<&[ValType], u32>) {
        match self.results.as_slice() {
            [] => written.push(0x40),
            [result] => written.push(value_type(*result)),
            // A type's index is a signed number here, which makes it a byte longer now and then.
            results => write_index(written, types.get(results).copied().unwrap_or_default()),
        }
    }
}

fn write_index(written: &mut Vec<u8>, index: u32) {
    let mut constant = Vec::new();
    super::binary::write_const(&mut constant, index);
    written.extend_from_slice(&constant[1..]);
}

fn results(validator: &FuncValidator<ValidatorResources>) -> Vec<ValType> {
    let ty = validator.resources().type_index_of_function(validator.index());
    let ty = ty.and_then(|index| validator.resources().sub_type_at(index));
    ty.map(|ty| ty.unwrap_func().results().to_vec()).unwrap_or_default()
}
