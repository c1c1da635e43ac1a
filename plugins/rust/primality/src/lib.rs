//! Decides whether a token is a prime number, as the prime authorisers do. Knows nothing of Proxy-Wasm, and
//! never guesses: the answer is exact for every 64-bit number.

/// Whether the token is a prime number of at most 64 bits, written in ASCII decimal digits alone: a sign, a
/// blank or any other byte makes it no number. Leading zeros do no harm.
#[must_use]
pub fn is_prime_token(token: &[u8]) -> bool {
    decimal(token).is_some_and(is_prime)
}

/// Whether `n` is prime. Takes at most 1600 modular multiplications for any `n`, so that an interpreted guest is
/// done within a few milliseconds.
#[must_use]
pub fn is_prime(n: u64) -> bool {
    for p in WITNESSES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    // No divisor up to 37: prime below 41 * 41, except for 1.
    if n < 1681 {
        return n > 1;
    }
    let modulus = Montgomery::new(n);
    WITNESSES.into_iter().all(|witness| modulus.is_strong_probable_prime(witness))
}

/// The Miller-Rabin test with these bases has no false positive below 3.3e24 (OEIS A014233).
const WITNESSES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];

fn decimal(token: &[u8]) -> Option<u64> {
    if token.is_empty() {
        return None;
    }
    token.iter().try_fold(0u64, |number, byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

/// Multiplication modulo an odd number `n`, in Montgomery form (x stands for x * 2^64 mod n): two wide
/// multiplications in place of a 128-bit division, which WebAssembly has only as a long loop.
struct Montgomery {
    n: u64,
    /// The inverse of `n` modulo 2^64.
    inverse: u64,
    /// 1 in Montgomery form.
    one: u64,
    /// 2^128 mod n: multiplying by it takes a number into Montgomery form.
    square: u64,
}

impl Montgomery {
    fn new(n: u64) -> Self {
        // Newton's iteration: n is its own inverse modulo 8, and each step doubles the bits that are right.
        let mut inverse = n;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(inverse)));
        }
        let one = (u64::MAX % n + 1) % n;
        let square = (u128::from(one) * u128::from(one) % u128::from(n)) as u64;
        Self { n, inverse, one, square }
    }

    /// a * b / 2^64 mod n.
    fn multiply(&self, a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        let factor = (product as u64).wrapping_mul(self.inverse);
        let excess = ((u128::from(factor) * u128::from(self.n)) >> 64) as u64;
        let (difference, below_zero) = ((product >> 64) as u64).overflowing_sub(excess);
        if below_zero { difference.wrapping_add(self.n) } else { difference }
    }

    /// One round of Miller-Rabin.
    fn is_strong_probable_prime(&self, base: u64) -> bool {
        let twos = (self.n - 1).trailing_zeros();
        let minus_one = self.n - self.one;
        let mut power = self.power(self.multiply(base, self.square), (self.n - 1) >> twos);
        if power == self.one || power == minus_one {
            return true;
        }
        for _ in 1..twos {
            power = self.multiply(power, power);
            if power == minus_one {
                return true;
            }
        }
        false
    }

    fn power(&self, mut base: u64, mut exponent: u64) -> u64 {
        let mut power = self.one;
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.multiply(power, base);
            }
            base = self.multiply(base, base);
            exponent >>= 1;
        }
        power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_sieve() {
        const LIMIT: usize = 200_000;
        let mut composite = vec![false; LIMIT];
        for n in 2..LIMIT {
            assert_eq!(is_prime(n as u64), !composite[n], "{n}");
            for multiple in (n * n..LIMIT).step_by(n) {
                composite[multiple] = true;
            }
        }
        assert!(!is_prime(0));
        assert!(!is_prime(1));
    }

    #[test]
    fn agrees_with_trial_division_around_powers_of_two() {
        for exponent in [20, 31, 32, 33, 40] {
            let middle = 1u64 << exponent;
            for n in middle - 50..middle + 50 {
                let divisor = (2..).take_while(|d| d * d <= n).find(|d| n % d == 0);
                assert_eq!(is_prime(n), divisor.is_none(), "{n}");
            }
        }
    }

    #[test]
    fn large_primes_pass() {
        for n in [
            999_999_999_989,
            1_000_000_000_000_000_003,
            9_223_372_036_854_775_783,
            9_999_999_999_999_999_961,
            18_446_744_073_709_551_533,
            18_446_744_073_709_551_557,
        ] {
            assert!(is_prime(n), "{n}");
        }
    }

    /// Products of two primes, squares, Carmichael numbers, and the least numbers that fool Miller-Rabin with
    /// the first 1, 2, 3... prime bases.
    #[test]
    fn large_composites_do_not() {
        for n in [
            561,
            2_047,
            1_373_653,
            25_326_001,
            3_215_031_751,
            2_152_302_898_747,
            3_474_749_660_383,
            341_550_071_728_321,
            3_825_123_056_546_413_051,
            4_294_967_291 * 4_294_967_291,
            4_294_967_291 * 4_294_967_279,
            9_223_372_036_854_775_807,
            18_446_744_073_709_551_556,
            18_446_744_073_709_551_555,
            u64::MAX,
        ] {
            assert!(!is_prime(n), "{n}");
        }
    }

    #[test]
    fn tokens_of_the_seed_article() {
        assert!(is_prime_token(b"32323"));
        assert!(!is_prime_token(b"323232"));
    }

    #[test]
    fn digits_alone_are_a_number() {
        assert!(is_prime_token(b"2"));
        assert!(is_prime_token(b"0007"));
        assert!(is_prime_token(b"18446744073709551557"));
        for token in [
            &b""[..],
            b"abc",
            b"-7",
            b"+7",
            b" 7",
            b"7 ",
            b"7.0",
            b"0x7",
            b"7,11",
            b"7\0",
            b"\xff\xfe",
            b"\xd9\xa7",
            b"18446744073709551629",
            b"99999999999999999999999999999999999999999999999999",
        ] {
            assert!(!is_prime_token(token), "{token:?}");
        }
    }
}
