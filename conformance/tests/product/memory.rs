//! Where things are in the guest's memory of two pages.

use std::collections::HashMap;

/// Return slots, 64 bytes apart.
pub(crate) const SLOTS: u32 = 0x100;
/// Two vectors of `fd_write` and the like.
pub(crate) const VECTORS: u32 = 0x800;
/// Bytes that calls are given.
const DATA: u32 = 0x1000;
/// Zeros, more than there is room for anywhere but in the largest limit; behind them there is nothing to overwrite.
pub(crate) const ZEROS: (u32, u32) = (0x6000, 5000);
/// Where random numbers and the environment go.
pub(crate) const ROOM: u32 = 0x8000;
/// What a good allocator answers.
pub(crate) const HEAP: u32 = 0x1_0000;
/// How the allocator behaves.
pub(crate) const BEHAVIOUR: u32 = 0x1_7ff0;
/// The calls that are to be made.
pub(crate) const PROGRAM: u32 = 0x1_8000;
/// The end of the memory.
pub(crate) const END: u32 = 0x2_0000;

/// Every text that a combination needs, once each.
#[derive(Default)]
pub(crate) struct Atlas {
    texts: Vec<u8>,
    known: HashMap<Vec<u8>, u32>,
}

impl Atlas {
    /// The pointer and the length of a text.
    pub(crate) fn place(&mut self, text: &[u8]) -> (u32, u32) {
        let at = *self.known.entry(text.to_vec()).or_insert_with(|| {
            let at = self.texts.len();
            self.texts.extend_from_slice(text);
            at as u32
        });
        assert!(self.texts.len() < (ZEROS.0 - DATA) as usize, "{} bytes of texts", self.texts.len());
        (DATA + at, text.len() as u32)
    }

    /// The same of a text that was placed.
    pub(crate) fn known(&self, text: &[u8]) -> [u32; 2] {
        [DATA + self.known[text], text.len() as u32]
    }

    /// As a data segment of a module in the text format.
    pub(crate) fn segment(&self) -> String {
        let texts: String = self.texts.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let vectors = [DATA, 3, DATA + 3, 2].map(u32::to_le_bytes).concat();
        let vectors: String = vectors.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {DATA}) \"{texts}\")\n(data (i32.const {VECTORS}) \"{vectors}\")")
    }
}
