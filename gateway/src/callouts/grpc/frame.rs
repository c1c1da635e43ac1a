//! Messages in their frames: a byte that says whether a message is compressed, four with its length, and the message
//! (gRPC over HTTP/2, "Length-Prefixed-Message"). How they lie in DATA frames means nothing.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Why what came is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum BadFrame {
    /// It is compressed, and nobody said that it may be.
    #[error("compressed message")]
    Compressed,
    /// Its first byte is none that there is.
    #[error("invalid frame")]
    Invalid,
    /// It is larger than may be held.
    #[error("message too large")]
    TooLarge,
}

/// The frame of a message, in front of it.
///
/// `None` if the message is larger than its frame can say.
pub(super) fn head(message: &Bytes) -> Option<Bytes> {
    let mut head = BytesMut::with_capacity(HEAD);
    head.put_u8(0);
    head.put_u32(u32::try_from(message.len()).ok()?);
    Some(head.freeze())
}

/// Messages out of pieces. What it holds is one message and what came with its last piece at most, if it is asked for
/// messages until there is none before it is given another piece.
#[derive(Debug)]
pub(super) struct Decoder {
    data: BytesMut,
    limit: usize,
}

impl Decoder {
    /// For messages of `limit` bytes at most.
    pub(super) fn new(limit: usize) -> Self {
        Decoder { data: BytesMut::new(), limit }
    }

    /// Takes a piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.data.extend_from_slice(piece);
    }

    /// The next message, if it is whole.
    ///
    /// # Errors
    /// [`BadFrame`] as soon as the first bytes of a message show it.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, BadFrame> {
        match self.data.first() {
            None | Some(0) => {}
            Some(1) => return Err(BadFrame::Compressed),
            Some(_) => return Err(BadFrame::Invalid),
        }
        let Some(mut head) = self.data.get(..HEAD) else { return Ok(None) };
        head.advance(1);
        let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(BadFrame::TooLarge);
        }
        if self.data.len() - HEAD < length {
            return Ok(None);
        }
        self.data.advance(HEAD);
        Ok(Some(self.data.split_to(length).freeze()))
    }

    /// How many bytes are here of messages that are not whole, or were not asked for.
    pub(super) fn held(&self) -> usize {
        self.data.len()
    }
}

const HEAD: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        [&head(&Bytes::copy_from_slice(message)).unwrap()[..], message].concat()
    }

    /// All messages that come out of these pieces.
    fn messages<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Bytes>, BadFrame> {
        let mut decoder = Decoder::new(limit);
        let mut messages = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(message) = decoder.next()? {
                messages.push(message);
            }
            assert!(decoder.held() < HEAD + limit.max(1));
        }
        Ok(messages)
    }

    #[test]
    fn a_frame_is_a_zero_and_the_length() {
        assert_eq!(framed(b"hello"), b"\0\0\0\0\x05hello");
        assert_eq!(framed(b""), b"\0\0\0\0\0");
        assert_eq!(head(&Bytes::from(vec![0; 0x01_0203])).unwrap()[..], [0, 0, 1, 2, 3]);
    }

    #[test]
    fn bad_frames_are_known_by_their_first_bytes() {
        assert_eq!(messages(9, [&b"\x01"[..]]), Err(BadFrame::Compressed));
        assert_eq!(messages(9, [&b"\x02"[..]]), Err(BadFrame::Invalid));
        assert_eq!(messages(9, [&b"\xff"[..]]), Err(BadFrame::Invalid));
        assert_eq!(messages(9, [&b"\0\0\0\0\x0a"[..]]), Err(BadFrame::TooLarge));
        assert_eq!(messages(9, [&b"\0\xff\xff\xff\xff"[..]]), Err(BadFrame::TooLarge));
        assert_eq!(messages(9, [&b"\0\0\0\0\x01a\x01"[..]]), Err(BadFrame::Compressed));
        assert_eq!(messages(0, [&b"\0\0\0\0\0"[..]]).unwrap(), [Bytes::new()]);
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            cuts in prop::collection::vec(1..200_usize, 1..20),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|message| framed(message)).collect();
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle().take_while(|_| true) {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let mut decoder = Decoder::new(300);
            let mut got = Vec::new();
            for piece in pieces {
                decoder.push(piece);
                while let Some(message) = decoder.next().unwrap() {
                    got.push(message.to_vec());
                }
            }
            prop_assert_eq!(got, sent);
            prop_assert_eq!(decoder.held(), 0);
        }

        #[test]
        fn any_bytes_are_answered_and_no_message_is_above_the_limit(
            pieces in prop::collection::vec(prop::collection::vec(0..3_u8, 0..40), 0..20),
            limit in 0..20_usize,
        ) {
            let mut decoder = Decoder::new(limit);
            'all: for piece in &pieces {
                decoder.push(piece);
                loop {
                    match decoder.next() {
                        Ok(Some(message)) => prop_assert!(message.len() <= limit),
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(decoder.held() < HEAD + limit.max(1));
            }
        }
    }
}
