//! Reading a plugin's file: binary or text.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Reads a module in binary or text form (`.wat`), which is told by its first bytes.
///
/// # Errors
/// [`SourceError`] if the file cannot be read, is larger than `max_bytes`, or its text is wrong.
pub fn read_module(file: &Path, max_bytes: u64) -> Result<Vec<u8>, SourceError> {
    let read_error = |source| SourceError::Read { file: file.to_owned(), source };
    let mut opened = File::open(file).map_err(read_error)?;
    if opened.metadata().map_err(read_error)?.is_dir() {
        return Err(SourceError::Directory { file: file.to_owned() });
    }
    let mut bytes = Vec::new();
    // A device or a pipe has no size to go by, so the reading itself is bounded.
    opened.by_ref().take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > max_bytes {
        return Err(SourceError::TooLarge { file: file.to_owned(), limit: max_bytes });
    }
    if !is_text(file, &bytes) {
        return Ok(bytes);
    }
    let wrong = |(line, column), message: String| SourceError::Text { file: file.to_owned(), line, column, message };
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| wrong(place(&bytes[..error.valid_up_to()]), "not UTF-8, as WebAssembly text is".to_owned()))?;
    wat::parse_str(text).map_err(|error| {
        let (place, message) = placed(&error.to_string());
        wrong(place, message)
    })
}

/// Line and column after this text, both from 1.
fn place(before: &[u8]) -> (usize, usize) {
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

/// Takes the place and the words out of a message in several lines: words, `--> name:line:column`, the line itself,
/// which may be as long as the file, and a mark below it.
fn placed(message: &str) -> ((usize, usize), String) {
    let place = message.lines().find_map(|line| {
        let (before, column) = line.trim_start().strip_prefix("--> ")?.rsplit_once(':')?;
        Some((before.rsplit_once(':')?.1.parse().ok()?, column.parse().ok()?))
    });
    let words = message.lines().take_while(|line| !line.trim_start().starts_with("--> "));
    let words = words.flat_map(str::chars).take(MOST_WORDS).collect::<String>();
    (place.unwrap_or((1, 1)), crate::escape(words.as_bytes()).into_owned())
}

/// A message may repeat a name of the file, which has any length.
const MOST_WORDS: usize = 500;

/// Why a plugin's file could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The system refused.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// It is a directory.
    #[error("{}: is a directory, not a module", file.display())]
    Directory {
        /// The path.
        file: PathBuf,
    },
    /// It is too large.
    #[error("{}: larger than the {limit} bytes that a module may have", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// How large it may be.
        limit: u64,
    },
    /// The text form has a mistake.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Text {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong, in one line.
        message: String,
    },
}

fn is_text(file: &Path, bytes: &[u8]) -> bool {
    let named = file.extension().is_some_and(|extension| extension == "wat");
    !bytes.starts_with(b"\0asm") && (named || bytes.trim_ascii_start().starts_with(b"(module"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_mistakes_are_placed() {
        let dir = std::env::temp_dir().join(format!("chassis-source-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("a.wat");
        std::fs::write(&file, "(module)").unwrap();
        assert_eq!(read_module(&file, 100).unwrap(), b"\0asm\x01\0\0\0");
        std::fs::write(&file, "(module\n (fnc))").unwrap();
        let error = read_module(&file, 100).unwrap_err().to_string();
        // The words are those of the text format's parser.
        let words = error.strip_prefix(&format!("{}:2:3: ", file.display())).unwrap();
        assert!(!words.is_empty() && !words.contains('\n'), "{error}");
        let long = format!("(module\n(func ${} (call $\x1b[2J)))", "a".repeat(10_000));
        std::fs::write(&file, &long).unwrap();
        let error = read_module(&file, 100_000).unwrap_err().to_string();
        assert!(error.len() < 1000 && !error.contains(char::is_control), "{error}");
        std::fs::write(&file, b"(module\n\n \xff)").unwrap();
        let error = read_module(&file, 100).unwrap_err().to_string();
        assert!(error.contains("a.wat:3:2: not UTF-8"), "{error}");
        assert!(matches!(read_module(&file, 3), Err(SourceError::TooLarge { .. })));
        assert!(matches!(read_module(&dir, 3), Err(SourceError::Directory { .. })));
        assert!(matches!(read_module(&dir.join("none"), 3), Err(SourceError::Read { .. })));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
