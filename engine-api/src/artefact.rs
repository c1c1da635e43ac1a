//! Saved compiled code, sealed so that only what this project saved is ever loaded.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;

/// Compiled code as an engine saved it.
///
/// Loading compiled code is running it: whoever can change it can do what this process can. So an `Artefact` comes from
/// an engine's [`save`](crate::Engine::save) in this process, or from [`Artefact::open`], which believes nothing but
/// the keyed digest, and from nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Artefact {
    engine_key: String,
    module_digest: [u8; 32],
    bytes: Vec<u8>,
}

impl Artefact {
    /// What an engine saved: its [cache key](crate::Engine::cache_key), the SHA-256 of the module's bytes, and the
    /// code in the engine's own form.
    ///
    /// # Safety
    /// Engines load `bytes` without looking for malice. They must be what the engine that has this key compiled from
    /// the module that has this digest, unchanged.
    #[allow(unsafe_code)]
    pub unsafe fn from_engine(engine_key: impl Into<String>, module_digest: [u8; 32], bytes: Vec<u8>) -> Self {
        Artefact { engine_key: engine_key.into(), module_digest, bytes }
    }

    /// Opens what [`seal`](Artefact::seal) made with the same key. Nothing in `sealed` is looked at before the keyed
    /// digest over all of it has been found right.
    ///
    /// # Errors
    /// [`ArtefactError::Damaged`] if anything was changed, cut, added, or sealed with another key;
    /// [`ArtefactError::Format`] if it is whole but of another version of this format.
    pub fn open(sealed: &[u8], key: &SealKey) -> Result<Self, ArtefactError> {
        let (content, tag) = sealed.split_last_chunk::<TAG>().ok_or(ArtefactError::Damaged)?;
        key.mac(content).verify_slice(tag).map_err(|_| ArtefactError::Damaged)?;
        let mut rest = content;
        let magic: [u8; 8] = take(&mut rest)?;
        let format = u32::from_le_bytes(take(&mut rest)?);
        if magic != MAGIC {
            return Err(ArtefactError::Damaged);
        }
        if format != FORMAT {
            return Err(ArtefactError::Format(format));
        }
        let key_length = u64::from_le_bytes(take(&mut rest)?);
        let code_length = u64::from_le_bytes(take(&mut rest)?);
        let module_digest = take(&mut rest)?;
        let key_length = usize::try_from(key_length).map_err(|_| ArtefactError::Damaged)?;
        let (engine_key, bytes) = rest.split_at_checked(key_length).ok_or(ArtefactError::Damaged)?;
        if bytes.len() as u64 != code_length {
            return Err(ArtefactError::Damaged);
        }
        let engine_key = std::str::from_utf8(engine_key).map_err(|_| ArtefactError::Damaged)?;
        Ok(Artefact { engine_key: engine_key.to_owned(), module_digest, bytes: bytes.to_vec() })
    }

    /// The artefact with a keyed digest (HMAC-SHA-256) over everything in it. It is not encrypted.
    pub fn seal(&self, key: &SealKey) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(HEADER + self.engine_key.len() + self.bytes.len() + TAG);
        sealed.extend_from_slice(&MAGIC);
        sealed.extend_from_slice(&FORMAT.to_le_bytes());
        sealed.extend_from_slice(&(self.engine_key.len() as u64).to_le_bytes());
        sealed.extend_from_slice(&(self.bytes.len() as u64).to_le_bytes());
        sealed.extend_from_slice(&self.module_digest);
        sealed.extend_from_slice(self.engine_key.as_bytes());
        sealed.extend_from_slice(&self.bytes);
        let tag = key.mac(&sealed).finalize().into_bytes();
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// For an engine's [`load`](crate::Engine::load): whether this is its own code for this module.
    ///
    /// # Errors
    /// [`ArtefactError::WrongEngine`] or [`ArtefactError::WrongModule`] if not.
    pub fn check(&self, engine_key: &str, module_digest: &[u8; 32]) -> Result<(), ArtefactError> {
        if self.engine_key != engine_key {
            return Err(ArtefactError::WrongEngine { expected: engine_key.to_owned(), found: self.engine_key.clone() });
        }
        if self.module_digest != *module_digest {
            return Err(ArtefactError::WrongModule { expected: hex(module_digest), found: hex(&self.module_digest) });
        }
        Ok(())
    }

    /// The cache key of the engine that saved it.
    pub fn engine_key(&self) -> &str {
        &self.engine_key
    }

    /// The SHA-256 of the module that it was compiled from.
    pub fn module_digest(&self) -> &[u8; 32] {
        &self.module_digest
    }

    /// The code, in the engine's own form.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artefact")
            .field("engine_key", &self.engine_key)
            .field("module_digest", &hex(&self.module_digest))
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// The secret with which artefacts are sealed. Whoever knows it can have this process run any code.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// A key that nobody knows yet.
    ///
    /// # Errors
    /// [`ArtefactError::Random`] if the system has no random numbers to give.
    pub fn generate() -> Result<Self, ArtefactError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| ArtefactError::Random(error.to_string()))?;
        Ok(SealKey(bytes))
    }

    /// A key that was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        SealKey(bytes)
    }

    /// The key's bytes, to be kept where only this program can read them.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    fn mac(&self, content: &[u8]) -> Hmac<Sha256> {
        // A key of 32 bytes is shorter than the digest's block, so it fills the block as it is.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac: Hmac<Sha256> = hmac::digest::KeyInit::new(&block.into());
        mac.update(content);
        mac
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// Why saved code was not used. Compiling again mends all but [`ArtefactError::Random`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// Bytes were changed, cut or added, or it was sealed with another key.
    #[error("saved code is damaged, or sealed with another key")]
    Damaged,
    /// Another version of the sealed form.
    #[error("saved code has format {0}, this version reads format {FORMAT}")]
    Format(u32),
    /// Another engine, or this one with another version, profile, target or setting.
    #[error("saved code is for `{found}`, this engine is `{expected}`")]
    WrongEngine {
        /// The cache key of the engine that was to load it.
        expected: String,
        /// The cache key of the engine that saved it.
        found: String,
    },
    /// Another module.
    #[error("saved code is for the module with SHA-256 {found}, this one has {expected}")]
    WrongModule {
        /// The digest of the module that was to be loaded.
        expected: String,
        /// The digest of the module from which it was compiled.
        found: String,
    },
    /// The engine could not save its code, or refused what it saved itself.
    #[error("{engine} could not use its saved code: {message}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// Its words.
        message: String,
    },
    /// The system has no random numbers for a key.
    #[error("no random numbers for a key: {0}")]
    Random(String),
}

const MAGIC: [u8; 8] = *b"\0chassis";
const FORMAT: u32 = 1;
/// Magic, format, two lengths, the module's digest.
const HEADER: usize = 8 + 4 + 8 + 8 + 32;
const TAG: usize = 32;

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ArtefactError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(ArtefactError::Damaged)?;
    *rest = tail;
    Ok(*head)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: SealKey = SealKey([7; 32]);

    #[allow(unsafe_code)]
    fn artefact(engine_key: &str, digest: u8, code: &[u8]) -> Artefact {
        // SAFETY: no engine loads it.
        unsafe { Artefact::from_engine(engine_key, [digest; 32], code.to_vec()) }
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_only() {
        for (engine_key, code) in [("engine 1.0 deadline", &b"some code"[..]), ("", b""), ("é", &[0; 100_000])] {
            let artefact = artefact(engine_key, 3, code);
            let sealed = artefact.seal(&KEY);
            assert_eq!(Artefact::open(&sealed, &KEY), Ok(artefact));
            assert_eq!(Artefact::open(&sealed, &SealKey([8; 32])), Err(ArtefactError::Damaged));
            let same = SealKey::from_bytes(KEY.to_bytes());
            assert!(Artefact::open(&sealed, &same).is_ok());
        }
    }

    #[test]
    fn any_changed_bit_any_cut_and_any_addition_is_damage() {
        let sealed = artefact("engine", 3, b"some code").seal(&KEY);
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(Artefact::open(&changed, &KEY), Err(ArtefactError::Damaged), "byte {at}, bit {bit}");
            }
            assert_eq!(Artefact::open(&sealed[..at], &KEY), Err(ArtefactError::Damaged), "cut at {at}");
            assert_eq!(Artefact::open(&sealed[at + 1..], &KEY), Err(ArtefactError::Damaged), "begins after {at}");
        }
        let mut longer = sealed.clone();
        longer.push(0);
        assert_eq!(Artefact::open(&longer, &KEY), Err(ArtefactError::Damaged));
    }

    #[test]
    fn parts_of_two_artefacts_do_not_make_a_third() {
        let one = artefact("engine", 1, b"code one.").seal(&KEY);
        let two = artefact("engine", 2, b"code two.").seal(&KEY);
        assert_eq!(one.len(), two.len());
        for at in 1..one.len() {
            let mut mixed = one[..at].to_vec();
            mixed.extend_from_slice(&two[at..]);
            let opened = Artefact::open(&mixed, &KEY);
            assert!(opened == Err(ArtefactError::Damaged) || mixed == two, "{at}");
        }
    }

    #[test]
    fn a_rightly_sealed_form_that_is_malformed_is_refused_too() {
        let seal = |content: &[u8]| {
            let mut sealed = content.to_vec();
            sealed.extend_from_slice(&KEY.mac(content).finalize().into_bytes());
            sealed
        };
        let good = artefact("engine", 3, b"some code").seal(&KEY);
        let content = &good[..good.len() - TAG];
        assert!(Artefact::open(&seal(content), &KEY).is_ok());
        for at in 0..content.len() {
            assert_eq!(Artefact::open(&seal(&content[..at]), &KEY), Err(ArtefactError::Damaged), "{at}");
        }
        let changed = |at: usize, to: u8| {
            let mut changed = content.to_vec();
            changed[at] = to;
            Artefact::open(&seal(&changed), &KEY)
        };
        assert_eq!(changed(0, 1), Err(ArtefactError::Damaged));
        assert_eq!(changed(8, 2), Err(ArtefactError::Format(2)));
        assert_eq!(changed(12, 255), Err(ArtefactError::Damaged));
        assert_eq!(changed(19, 255), Err(ArtefactError::Damaged));
        assert_eq!(changed(20, 8), Err(ArtefactError::Damaged));
        assert_eq!(changed(HEADER, 0xff), Err(ArtefactError::Damaged));
    }

    #[test]
    fn only_the_same_engine_and_module_pass_the_check() {
        let artefact = artefact("engine 1", 3, b"some code");
        assert_eq!(artefact.check("engine 1", &[3; 32]), Ok(()));
        let engine = artefact.check("engine 2", &[3; 32]).unwrap_err();
        assert_eq!(engine.to_string(), "saved code is for `engine 1`, this engine is `engine 2`");
        let module = artefact.check("engine 1", &[4; 32]).unwrap_err();
        assert!(matches!(module, ArtefactError::WrongModule { .. }), "{module}");
        assert!(module.to_string().contains("0303"), "{module}");
    }

    #[test]
    fn keys_differ_and_are_not_shown() {
        let (one, two) = (SealKey::generate().unwrap(), SealKey::generate().unwrap());
        assert_ne!(one.to_bytes(), two.to_bytes());
        assert_eq!(format!("{one:?}"), "SealKey(..)");
        let shown = format!("{:?}", artefact("engine", 3, b"secret"));
        assert!(shown.contains("bytes: 6") && !shown.contains("115"), "{shown}");
    }

    #[test]
    fn the_digest_is_the_standard_one() {
        // RFC 4231, test case 2 has a short key; the zero-filled block makes ours equal to it.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let tag = SealKey(key).mac(b"what do ya want for nothing?").finalize().into_bytes();
        assert_eq!(hex(&tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
