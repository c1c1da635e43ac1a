//! What parent and child say to each other.
//!
//! The parent sends magic, version, key, limits and the module with its length before it; the child answers with magic,
//! a word that says what follows, and that with its length before it. All numbers are little-endian.

use std::io::{self, Read, Write};
use std::time::Duration;

use crate::artefact::SealKey;

const MAGIC: [u8; 8] = *b"\0chscomp";
const VERSION: u32 = 1;
const COMPILED: u32 = 0;
const REFUSED: u32 = 1;
const ANSWER_HEADER: usize = 8 + 4 + 8;

/// The exit code of a child that refused the module.
pub(crate) const EXIT_REFUSED: u8 = 4;

/// What the child must know before it looks at the module.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) key: SealKey,
    pub(crate) cpu: Duration,
    pub(crate) memory_bytes: u64,
    pub(crate) module_bytes: u64,
}

impl Request {
    /// Writes everything but the module, which must follow.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut header = Vec::with_capacity(128);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&self.key.to_bytes());
        header.extend_from_slice(&u64::try_from(self.cpu.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
        header.extend_from_slice(&self.memory_bytes.to_le_bytes());
        header.extend_from_slice(&self.module_bytes.to_le_bytes());
        to.write_all(&header)
    }

    /// Reads what `write` wrote, and not a byte more.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        if take::<8>(from)? != MAGIC {
            return Err(io::Error::other("not a request to compile"));
        }
        let version = u32::from_le_bytes(take(from)?);
        if version != VERSION {
            return Err(io::Error::other(format!("the request has version {version}, this program reads {VERSION}")));
        }
        Ok(Request {
            key: SealKey::from_bytes(take(from)?),
            cpu: Duration::from_millis(u64::from_le_bytes(take(from)?)),
            memory_bytes: u64::from_le_bytes(take(from)?),
            module_bytes: u64::from_le_bytes(take(from)?),
        })
    }

    /// Reads the module.
    pub(crate) fn read_module(&self, from: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut module = Vec::new();
        from.take(self.module_bytes).read_to_end(&mut module)?;
        if module.len() as u64 != self.module_bytes {
            return Err(io::Error::other("the module is cut"));
        }
        Ok(module)
    }
}

/// What the child says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A sealed artefact.
    Compiled(Vec<u8>),
    /// Why there is none.
    Refused(String),
}

impl Answer {
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (word, content) = match self {
            Answer::Compiled(sealed) => (COMPILED, sealed.as_slice()),
            Answer::Refused(message) => (REFUSED, message.as_bytes()),
        };
        to.write_all(&MAGIC)?;
        to.write_all(&word.to_le_bytes())?;
        to.write_all(&(content.len() as u64).to_le_bytes())?;
        to.write_all(content)?;
        to.flush()
    }

    /// The answer in all that a child wrote; `None` if that is anything but one whole answer.
    pub(crate) fn parse(mut bytes: Vec<u8>) -> Option<Self> {
        let header = bytes.get(..ANSWER_HEADER)?;
        let word = u32::from_le_bytes(header[8..12].try_into().ok()?);
        let length = u64::from_le_bytes(header[12..].try_into().ok()?);
        if header[..8] != MAGIC || length != (bytes.len() - ANSWER_HEADER) as u64 {
            return None;
        }
        let content = bytes.split_off(ANSWER_HEADER);
        match word {
            COMPILED => Some(Answer::Compiled(content)),
            REFUSED => Some(Answer::Refused(String::from_utf8_lossy(&content).into_owned())),
            _ => None,
        }
    }
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written_and_the_module_follows() {
        let request = Request {
            key: SealKey::from_bytes([9; 32]),
            cpu: Duration::from_millis(1500),
            memory_bytes: 1 << 30,
            module_bytes: 3,
        };
        let mut bytes = Vec::new();
        request.write(&mut bytes).unwrap();
        let header = bytes.len();
        bytes.extend_from_slice(b"abcmore");
        let mut rest = &bytes[..];
        let read = Request::read(&mut rest).unwrap();
        assert_eq!(read.key.to_bytes(), [9; 32]);
        assert_eq!((read.cpu, read.memory_bytes), (request.cpu, request.memory_bytes));
        assert_eq!(read.read_module(&mut rest).unwrap(), b"abc");
        for cut in 0..header {
            assert!(Request::read(&mut &bytes[..cut]).is_err());
        }
        assert!(read.read_module(&mut &b"ab"[..]).is_err());
        bytes[0] ^= 1;
        assert_eq!(Request::read(&mut &bytes[..]).unwrap_err().to_string(), "not a request to compile");
        bytes[0] ^= 1;
        bytes[8] = 2;
        assert!(Request::read(&mut &bytes[..]).unwrap_err().to_string().contains("version 2"));
    }

    #[test]
    fn only_one_whole_answer_is_an_answer() {
        for answer in [Answer::Compiled(vec![1, 2, 3]), Answer::Refused("no".to_owned()), Answer::Compiled(vec![])] {
            let mut bytes = Vec::new();
            answer.write(&mut bytes).unwrap();
            assert_eq!(Answer::parse(bytes.clone()), Some(answer));
            for cut in 0..bytes.len() {
                assert_eq!(Answer::parse(bytes[..cut].to_vec()), None);
            }
            let longer = [&bytes[..], b"!"].concat();
            assert_eq!(Answer::parse(longer), None);
            for at in 0..ANSWER_HEADER {
                let mut changed = bytes.clone();
                changed[at] ^= 0x80;
                assert_eq!(Answer::parse(changed), None, "{at}");
            }
        }
    }
}
