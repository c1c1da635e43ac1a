//! Following a chunked body to its end.

use super::Refusal;

/// A chunked body that is being followed.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// The size of the chunk that is being read.
    size: u64,
}

/// Where in a chunked body the next byte is.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In a chunk size that has this value and so many digits.
    Size { value: u64, digits: u8 },
    /// In whitespace after the size.
    Space,
    /// In a chunk extension.
    Extension,
    /// At the line feed after a size.
    SizeEnd,
    /// In the data; so many bytes are to come.
    Data(u64),
    /// At the carriage return after the data.
    DataReturn,
    /// At the line feed after the data.
    DataEnd,
    /// At the begin of a trailer line or of the last, empty line.
    Trailer,
    /// In a trailer line.
    TrailerLine,
    /// At the line feed after a trailer line.
    TrailerEnd,
    /// At the very last line feed.
    LastEnd,
}

impl Chunks {
    /// At the begin of a body.
    pub(super) fn new() -> Self {
        Chunks { at: At::Size { value: 0, digits: 0 }, size: 0 }
    }

    /// Goes over `bytes`. Answers how many of them are a body's and fine, and whether the body ends there or the next
    /// byte is refused.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> (usize, Result<bool, Refusal>) {
        let mut done = 0;
        while done < bytes.len() {
            if let At::Data(left) = &mut self.at {
                let here = (*left).min((bytes.len() - done) as u64);
                *left -= here;
                done += here as usize;
                if *left == 0 {
                    self.at = At::DataReturn;
                }
                continue;
            }
            match self.after(bytes[done]) {
                Ok(Some(next)) => self.at = next,
                Ok(None) => return (done + 1, Ok(true)),
                Err(refusal) => return (done, Err(refusal)),
            }
            done += 1;
        }
        (done, Ok(false))
    }

    /// Where the byte after `byte` is; `None` after the last one.
    fn after(&mut self, byte: u8) -> Result<Option<At>, Refusal> {
        let next = match (self.at, byte) {
            (At::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 15 digits are 60 bits.
                if digits == 15 {
                    return Err(Refusal::Chunk);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                At::Size { value: value * 16 + u64::from(digit), digits: digits + 1 }
            }
            (At::Size { value, digits: 1.. }, _) => {
                self.size = value;
                after_size(byte)?
            }
            (At::Space, _) => after_size(byte)?,
            (At::Extension, b'\r') => At::SizeEnd,
            (At::Extension, b'\n' | 0) => return Err(Refusal::Chunk),
            (At::Extension, _) => At::Extension,
            (At::SizeEnd, b'\n') if self.size == 0 => At::Trailer,
            (At::SizeEnd, b'\n') => At::Data(self.size),
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::Size { value: 0, digits: 0 },
            (At::Trailer, b'\r') => At::LastEnd,
            (At::TrailerLine, b'\r') => At::TrailerEnd,
            // A line that begins with a space continues the one before it.
            (At::Trailer, b' ' | b'\t') => return Err(Refusal::Chunk),
            (At::Trailer | At::TrailerLine, b'\n' | 0) => return Err(Refusal::Chunk),
            (At::Trailer | At::TrailerLine, _) => At::TrailerLine,
            (At::TrailerEnd, b'\n') => At::Trailer,
            (At::LastEnd, b'\n') => return Ok(None),
            _ => return Err(Refusal::Chunk),
        };
        Ok(Some(next))
    }
}

fn after_size(byte: u8) -> Result<At, Refusal> {
    match byte {
        b'\r' => Ok(At::SizeEnd),
        b' ' | b'\t' => Ok(At::Space),
        b';' => Ok(At::Extension),
        _ => Err(Refusal::Chunk),
    }
}
