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
    wat::parse_bytes(&bytes).map(|binary| binary.into_owned()).map_err(|mut error| {
        error.set_path(file);
        SourceError::Text { message: error.to_string().trim_end().to_owned() }
    })
}

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
    #[error("{}: larger than {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// How large it may be.
        limit: u64,
    },
    /// The text form has a mistake; the message names file, line and column.
    #[error("{message}")]
    Text {
        /// What is wrong and where.
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
        assert!(error.contains("a.wat:2:"), "{error}");
        assert!(matches!(read_module(&file, 3), Err(SourceError::TooLarge { .. })));
        assert!(matches!(read_module(&dir, 3), Err(SourceError::Directory { .. })));
        assert!(matches!(read_module(&dir.join("none"), 3), Err(SourceError::Read { .. })));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
