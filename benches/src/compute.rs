//! Guests that compute: SHA-256 and the scan of a state machine over 64 KiB, in Wasm and, for the native engine, in Rust.

use std::sync::OnceLock;

/// How many bytes are hashed or scanned.
pub(crate) const SIZE: usize = 64 << 10;

/// A computation over the same 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// SHA-256, without any of the processor's own instructions for it.
    Sha256,
    /// A state machine that looks for a word and counts how often it is there.
    Scan,
}

impl Kernel {
    /// The guest's text: `proxy_on_request_headers` computes as often as its second parameter says.
    pub(crate) fn guest(self) -> &'static str {
        match self {
            Kernel::Sha256 => include_str!("../guests/sha256.wat"),
            Kernel::Scan => include_str!("../guests/scan.wat"),
        }
    }

    /// The same in Rust.
    pub(crate) fn run(self) -> u32 {
        match self {
            Kernel::Sha256 => sha256(data()),
            Kernel::Scan => scan(data()),
        }
    }
}

/// What is computed over: every fourth KiB begins with the word.
pub(crate) fn data() -> &'static [u8] {
    static DATA: OnceLock<Vec<u8>> = OnceLock::new();
    DATA.get_or_init(|| {
        let mut state = 1_u32;
        (0..SIZE)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let letter = b'a' + ((state >> 24) % 26) as u8;
                if i % 4096 < WORD.len() { WORD[i % 4096] } else { letter }
            })
            .collect()
    })
}

const WORD: &[u8] = b"wasm";

const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];

const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The first word of the hash of whole blocks of 64 bytes.
fn sha256(data: &[u8]) -> u32 {
    let mut hash = INITIAL;
    for block in data.chunks_exact(64) {
        compress(&mut hash, block);
    }
    let mut last = [0; 64];
    last[0] = 0x80;
    last[56..].copy_from_slice(&(data.len() as u64 * 8).to_be_bytes());
    compress(&mut hash, &last);
    hash[0]
}

fn compress(hash: &mut [u32; 8], block: &[u8]) {
    let mut w = [0_u32; 64];
    for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..64 {
        let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
        let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *hash;
    for i in 0..64 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let t1 = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(K[i]).wrapping_add(w[i]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let t2 = s0.wrapping_add(majority);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (sum, part) in hash.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *sum = sum.wrapping_add(part);
    }
}

/// From a state (how much of the word was seen) and a byte to the next state, 256 entries a state.
pub(crate) fn transitions() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let next = |state: usize, byte: u8| {
            let seen = if state == WORD.len() { 0 } else { state };
            if byte == WORD[seen] { seen as u8 + 1 } else { u8::from(byte == WORD[0]) }
        };
        (0..=WORD.len()).flat_map(|state| (0..=255).map(move |byte| next(state, byte))).collect()
    })
}

/// How often the word is in the data.
fn scan(data: &[u8]) -> u32 {
    let table = transitions();
    let (mut state, mut found) = (0_usize, 0);
    for byte in data {
        state = usize::from(table[state << 8 | usize::from(*byte)]);
        found += u32::from(state == WORD.len());
    }
    found
}

/// Constants for the text of the SHA-256 guest.
pub(crate) fn sha256_constants() -> Vec<u8> {
    K.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_others_compute() {
        use sha2::Digest;
        let expected = sha2::Sha256::digest(data());
        assert_eq!(Kernel::Sha256.run().to_be_bytes(), expected[..4]);
    }

    #[test]
    fn the_scan_counts_each_word() {
        let found = data().windows(WORD.len()).filter(|window| *window == WORD).count();
        assert!(found >= 16);
        assert_eq!(Kernel::Scan.run(), found as u32);
    }
}
