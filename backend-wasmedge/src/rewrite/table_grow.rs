//! `table.grow` as a call of a function that answers -1 where the table would pass the limit.

use wasmparser::RefType;

use super::binary::{value_type, write_u32};

/// The functions that grow tables, one for each table that is grown.
#[derive(Default)]
pub(super) struct Growers {
    elements: Vec<RefType>,
    wanted: Vec<u32>,
}

/// The function that grows one table.
pub(super) struct Grower {
    table: u32,
    element: RefType,
}

impl Growers {
    /// Takes note of the next table.
    pub(super) fn add_table(&mut self, element: RefType) {
        self.elements.push(element);
    }

    /// Asks for the function of a table.
    pub(super) fn want(&mut self, table: u32) {
        if !self.wanted.contains(&table) {
            self.wanted.push(table);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The place of a table's function among them.
    pub(super) fn index(&self, table: u32) -> u32 {
        self.wanted.iter().position(|wanted| *wanted == table).unwrap_or_default() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Grower> {
        self.wanted.iter().map(|table| {
            let element = self.elements.get(*table as usize).copied().unwrap_or(RefType::FUNCREF);
            Grower { table: *table, element }
        })
    }
}

impl Grower {
    /// `(func (param $init ref) (param $delta i32) (result i32))`
    pub(super) fn ty(&self) -> Vec<u8> {
        vec![0x60, 2, value_type(self.element.into()), 0x7f, 1, 0x7f]
    }

    /// Grows the table if the global `limit` allows for it; both numbers are unsigned, so their sum needs 64 bits.
    pub(super) fn body(&self, limit: u32) -> Vec<u8> {
        let mut body = vec![0]; // no locals
        body.extend_from_slice(&[0xfc, 0x10]); // table.size
        write_u32(&mut body, self.table);
        body.push(0xad); // i64.extend_i32_u
        body.extend_from_slice(&[0x20, 1, 0xad, 0x7c]); // local.get 1, i64.extend_i32_u, i64.add
        body.push(0x23); // global.get
        write_u32(&mut body, limit);
        body.extend_from_slice(&[0xad, 0x56]); // i64.extend_i32_u, i64.gt_u
        body.extend_from_slice(&[0x04, 0x7f, 0x41, 0x7f, 0x05]); // if (result i32), i32.const -1, else
        body.extend_from_slice(&[0x20, 0, 0x20, 1, 0xfc, 0x0f]); // local.get 0, local.get 1, table.grow
        write_u32(&mut body, self.table);
        body.extend_from_slice(&[0x0b, 0x0b]);
        body
    }
}
