//! Following the frames that a client sends in HTTP/2, without I/O: how much of it is work without use.
//!
//! What frames mean is judged where they are read. Here they are only counted, so that a client cannot keep a worker busy
//! with frames that cost it nothing: each frame but one with data takes credit; a request that was answered, bytes that
//! were sent, and time give it back.

use thiserror::Error;

/// A client sends frames faster than they can be of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many HTTP/2 frames that carry nothing")]
pub struct Flood;

/// What begins a connection (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Credit at the begin, and the most that there can be.
const MOST: u32 = 10_000;
/// What a reset takes: a request that was begun for nothing.
const RESET: u32 = 20;
/// What time gives back.
const PER_SECOND: u32 = 1_000;
/// Sent bytes that give back 1: a client answers as many with an update of its windows.
const SENT: usize = 1 << 10;

/// Follows the frames of one connection.
#[derive(Debug)]
pub struct Frames {
    credit: u32,
    /// Bytes of the preface that are to come.
    preface: usize,
    /// The head of the frame that is coming: nine bytes.
    head: [u8; 9],
    filled: usize,
    /// Bytes of the frame's payload that are to come.
    payload: usize,
    /// Whether headers have begun that have not ended.
    in_headers: bool,
    /// Whether what comes is of a frame with data.
    in_data: bool,
    /// Sent bytes that were not counted.
    sent: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            credit: MOST,
            preface: PREFACE.len(),
            head: [0; 9],
            filled: 0,
            payload: 0,
            in_headers: false,
            in_data: false,
            sent: 0,
        }
    }
}

impl Frames {
    /// Takes what came.
    ///
    /// # Errors
    /// If there is no credit left.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        skip(&mut bytes, &mut self.preface);
        while !bytes.is_empty() {
            if self.payload > 0 {
                skip(&mut bytes, &mut self.payload);
                continue;
            }
            let count = bytes.len().min(self.head.len() - self.filled);
            self.head[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == self.head.len() {
                self.filled = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// Whether the preface, a frame without data, or headers have begun and not ended.
    pub fn is_open(&self) -> bool {
        self.preface > 0 || self.filled > 0 || self.in_headers || (self.payload > 0 && !self.in_data)
    }

    /// Notes that a request was answered to its end.
    pub fn answered(&mut self) {
        self.give(RESET + 1);
    }

    /// Notes that bytes were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= SENT {
            self.give(u32::try_from(self.sent / SENT).unwrap_or(MOST));
            self.sent %= SENT;
        }
    }

    /// Whether so little credit is left that it is time to look at the clock.
    pub fn is_low(&self) -> bool {
        self.credit < MOST / 2
    }

    /// Notes that so many milliseconds have passed since the last time, or since the begin.
    pub fn passed(&mut self, milliseconds: u32) {
        self.give(milliseconds.min(60_000) * PER_SECOND / 1_000);
    }

    fn give(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(MOST);
    }

    /// Takes the head of a frame (RFC 9113, section 4.1).
    fn frame(&mut self) -> Result<(), Flood> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const CONTINUATION: u8 = 9;
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let [high, middle, low, kind, flags, ..] = self.head;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.in_data = kind == DATA;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_headers = flags & END_HEADERS == 0;
        }
        let cost = match kind {
            DATA if self.payload > 0 || flags & END_STREAM != 0 => 0,
            RST_STREAM => RESET,
            _ => 1,
        };
        self.credit = self.credit.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }
}

fn skip(bytes: &mut &[u8], count: &mut usize) {
    let here = bytes.len().min(*count);
    *bytes = &bytes[here..];
    *count -= here;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// How many of these frames are taken at once.
    fn taken(frame: &[u8]) -> usize {
        let mut frames = Frames::default();
        frames.follow(PREFACE).unwrap();
        (0..20_000).take_while(|_| frames.follow(frame).is_ok()).count()
    }

    #[test]
    fn frames_that_carry_nothing_come_to_an_end() {
        for (kind, flags, payload, count) in [
            (6, 0, &[0; 8][..], 10_000),
            (4, 0, &[], 10_000),
            (0, 0, &[], 10_000),
            (9, 0, b"x", 10_000),
            (8, 0, &[0, 0, 0, 1], 10_000),
            (77, 0, &[], 10_000),
            (3, 0, &[0; 4], 500),
            (0, 0, b"x", 20_000),
            (0, 1, &[], 20_000),
        ] {
            assert_eq!(taken(&frame(kind, flags, payload)), count, "{kind}");
        }
    }

    #[test]
    fn answers_bytes_and_time_give_credit_back() {
        let mut frames = Frames::default();
        frames.follow(PREFACE).unwrap();
        let request = [frame(1, 5, b"x"), frame(3, 0, &[0; 4])].concat();
        for _ in 0..5_000 {
            frames.follow(&request).unwrap();
            frames.answered();
        }
        assert!(!frames.is_low());
        let ping = frame(6, 0, &[0; 8]);
        for _ in 0..30_000 {
            frames.follow(&ping).unwrap();
            frames.sent(600);
            frames.sent(600);
        }
        assert!(!frames.is_low());
        for _ in 0..10 {
            (0..5_001).for_each(|_| frames.follow(&ping).unwrap());
            assert!(frames.is_low());
            frames.passed(5_001);
        }
    }

    #[test]
    fn headers_and_frames_are_open_until_they_end() {
        let mut frames = Frames::default();
        let mut is_open = |bytes: &[u8]| {
            frames.follow(bytes).unwrap();
            frames.is_open()
        };
        assert!(is_open(b"PRI"));
        assert!(!is_open(&PREFACE[3..]));
        let headers = frame(1, 0, b"abc");
        assert!(is_open(&headers[..4]));
        assert!(is_open(&headers[4..]));
        assert!(!is_open(&frame(9, 4, b"abc")));
        let data = frame(0, 0, b"abc");
        assert!(!is_open(&data[..10]));
        assert!(!is_open(&data[10..]));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            kinds in prop::collection::vec((0..12_u8, any::<u8>(), 0..40_usize), 0..50),
            step in 1..64_usize,
        ) {
            let mut bytes = PREFACE.to_vec();
            kinds.iter().for_each(|(kind, flags, length)| bytes.extend(frame(*kind, *flags, &vec![0; *length])));
            let (mut whole, mut pieces) = (Frames::default(), Frames::default());
            whole.follow(&bytes).unwrap();
            bytes.chunks(step).for_each(|piece| pieces.follow(piece).unwrap());
            prop_assert_eq!((whole.credit, whole.is_open()), (pieces.credit, pieces.is_open()));
        }
    }
}
