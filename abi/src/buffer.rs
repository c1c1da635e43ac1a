//! Body bytes on their way through a plugin.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

/// Bytes in the pieces in which they came. They are joined when the pieces get so many and small that keeping them apart
/// would cost more memory than the bytes themselves.
#[derive(Debug, Clone, Default)]
pub struct Buffer {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Buffer {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a piece; an empty one leaves no trace.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
            self.join_crumbs();
        }
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.pop_front()?;
        self.len -= chunk.len();
        Some(chunk)
    }

    /// Moves everything to the end of `other`.
    pub fn move_to(&mut self, other: &mut Buffer) {
        other.len += self.len;
        other.chunks.append(&mut self.chunks);
        self.len = 0;
        other.join_crumbs();
    }

    /// Removes everything. Room for a few pieces stays, so that one that is used again need not ask for it.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.chunks.shrink_to(CRUMBS);
        self.len = 0;
    }

    /// Where `size` bytes from `start` are, cut to what there is (ABI 0.2.1, `proxy_get_buffer_bytes`).
    pub fn range(&self, start: usize, size: usize) -> Range<usize> {
        let start = start.min(self.len);
        start..start.saturating_add(size).min(self.len)
    }

    /// Copies a range into `out`, which has its length.
    ///
    /// # Panics
    /// If `out` is shorter than the range.
    pub fn copy_to(&self, range: Range<usize>, out: &mut [u8]) {
        let mut offset = 0;
        for chunk in &self.chunks {
            let from = range.start.max(offset);
            let to = range.end.min(offset + chunk.len());
            if from < to {
                out[from - range.start..to - range.start].copy_from_slice(&chunk[from - offset..to - offset]);
            }
            offset += chunk.len();
            if offset >= range.end {
                break;
            }
        }
    }

    /// All bytes in one piece.
    pub fn to_bytes(&self) -> Bytes {
        if let [chunk] = self.chunks.as_slices().0
            && self.chunks.len() == 1
        {
            return chunk.clone();
        }
        let mut whole = vec![0; self.len];
        self.copy_to(0..self.len, &mut whole);
        Bytes::from(whole)
    }

    /// Puts `value` in the place of `size` bytes from `start`, both cut to what there is (ABI 0.2.1,
    /// `proxy_set_buffer_bytes`): `(0, 0)` prepends, a `start` at or past the end appends, an empty value deletes.
    pub fn splice(&mut self, start: usize, size: usize, value: Bytes) {
        let range = self.range(start, size);
        if range.start == self.len {
            return self.push(value);
        }
        if range == (0..self.len) {
            self.clear();
            return self.push(value);
        }
        let mut tail = self.split_off(range.end);
        drop(self.split_off(range.start));
        self.push(value);
        tail.move_to(self);
    }

    /// Keeps the first `at` bytes and gives the others. A piece that is cut in two is copied: a few bytes that keep all
    /// of a large piece in memory would be held for nothing.
    fn split_off(&mut self, at: usize) -> Buffer {
        let mut kept = Buffer::default();
        while kept.len < at {
            let Some(chunk) = self.pop() else { break };
            let wanted = at - kept.len;
            if chunk.len() <= wanted {
                kept.len += chunk.len();
                kept.chunks.push_back(chunk);
                continue;
            }
            self.len += chunk.len() - wanted;
            self.chunks.push_front(Bytes::copy_from_slice(&chunk[wanted..]));
            kept.len = at;
            kept.chunks.push_back(Bytes::copy_from_slice(&chunk[..wanted]));
        }
        std::mem::replace(self, kept)
    }

    fn join_crumbs(&mut self) {
        if self.chunks.len() > CRUMBS + self.len / PIECE {
            let whole = self.to_bytes();
            self.chunks.clear();
            self.chunks.push_back(whole);
        }
    }
}

/// Pieces are joined when there are more than one for each of so many bytes, and so many more. Joining then copies at
/// most [`PIECE`] bytes for each piece that was pushed since.
const PIECE: usize = 1024;
const CRUMBS: usize = 16;

impl<T: Into<Bytes>> From<T> for Buffer {
    fn from(bytes: T) -> Self {
        let mut buffer = Buffer::default();
        buffer.push(bytes.into());
        buffer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_as_one_vector(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..6),
            splices in proptest::collection::vec((0_usize..60, 0_usize..60, proptest::collection::vec(any::<u8>(), 0..9)), 0..6),
        ) {
            let mut model: Vec<u8> = chunks.concat();
            let mut buffer = Buffer::default();
            chunks.into_iter().for_each(|chunk| buffer.push(chunk.into()));
            for (start, size, value) in splices {
                let from = start.min(model.len());
                let to = (start + size).min(model.len());
                model.splice(from..to.max(from), value.clone());
                buffer.splice(start, size, value.into());
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(&buffer.to_bytes(), &model);
                let range = buffer.range(start, size);
                let mut out = vec![0; range.len()];
                buffer.copy_to(range.clone(), &mut out);
                prop_assert_eq!(&out, &model[range]);
            }
        }
    }

    #[test]
    fn many_small_pieces_do_not_cost_more_than_their_bytes() {
        let mut buffer = Buffer::default();
        for i in 0..100_000_u32 {
            buffer.push(Bytes::copy_from_slice(&i.to_le_bytes()[..1]));
            assert!(buffer.chunks.len() <= CRUMBS + buffer.len() / PIECE);
        }
        assert_eq!(buffer.len(), 100_000);
        assert_eq!(buffer.to_bytes()[99_999], 99_999_u32.to_le_bytes()[0]);
        let mut many = Buffer::default();
        for _ in 0..10 {
            let mut other = Buffer::default();
            (0..CRUMBS).for_each(|_| other.push(Bytes::from_static(b"x")));
            other.move_to(&mut many);
        }
        assert!(many.chunks.len() <= CRUMBS);
        assert_eq!(many.len(), 10 * CRUMBS);
    }

    #[test]
    fn one_that_is_used_again_keeps_no_more_than_a_little_room() {
        let mut buffer = Buffer::default();
        for _ in 0..2 {
            (0..10_000).for_each(|_| buffer.push(Bytes::from_static(&[0; PIECE])));
            assert_eq!(buffer.chunks.len(), 10_000);
            // Taking them one by one leaves no piece and all of the room.
            while buffer.pop().is_some() {}
            assert!(buffer.chunks.capacity() >= 10_000);
            buffer.clear();
            assert!(buffer.chunks.capacity() <= 2 * CRUMBS, "{}", buffer.chunks.capacity());
            assert!(buffer.is_empty() && buffer.pop().is_none());
        }
        buffer.push(Bytes::from_static(b"x"));
        buffer.clear();
        assert!(buffer.chunks.capacity() > 0 && buffer.is_empty());
    }

    #[test]
    fn what_is_left_of_a_piece_does_not_keep_it_in_memory() {
        let piece = Bytes::from(vec![7; 1 << 20]);
        let mut buffer = Buffer::from(piece.clone());
        buffer.splice(1, 1 << 20, Bytes::new());
        assert_eq!(buffer.to_bytes(), &[7][..]);
        drop(buffer.clone());
        assert!(piece.is_unique());
        buffer.splice(0, 0, piece);
        buffer.splice(0, (1 << 20) - 1, Bytes::from_static(b"a"));
        assert_eq!(buffer.to_bytes(), &b"a\x07\x07"[..]);
    }

    #[test]
    fn a_size_that_wraps_means_the_rest() {
        let buffer = Buffer::from("hello");
        assert_eq!(buffer.range(1, usize::MAX), 1..5);
        assert_eq!(buffer.range(9, 1), 5..5);
    }
}
