//! Values of options: sizes, durations, header fields, texts or files.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;

use crate::exit::{Exit, Failure};

/// A number of bytes: `65536`, `64KiB`, `64MiB`, `1GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("the unit must be KiB, MiB or GiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "must be a number of bytes, as 64MiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "is too large".to_owned())
}

/// A duration with its unit: `50ms`, `1.5s`, `1m`; at most an hour.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let help = || "must be a duration with its unit, as 50ms, 5s or 1m".to_owned();
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "us" => 0.000_001,
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(help()),
    };
    let number: f64 = number.parse().map_err(|_| help())?;
    let duration = Duration::try_from_secs_f64(number * unit).map_err(|_| help())?;
    if duration.is_zero() || duration > Duration::from_secs(3600) {
        return Err("must be more than nothing and at most 1h".to_owned());
    }
    Ok(duration)
}

/// A header field as it was typed; `:authority: a` is a pseudo-header. Whether it is valid is not judged here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Reads `name: value`, whose value may be any bytes.
pub(crate) fn field(text: &OsStr) -> Result<Field, String> {
    let text = text.as_encoded_bytes();
    let colon = text.iter().skip(1).position(|byte| *byte == b':').map(|position| position + 1);
    let Some(colon) = colon else { return Err("must be `name: value`".to_owned()) };
    let value = text[colon + 1..].trim_ascii();
    Ok(Field { name: text[..colon].trim_ascii().to_ascii_lowercase(), value: value.to_vec() })
}

/// A property with its value: `a.b=text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Property {
    /// With dots.
    pub(crate) path: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Reads `path=value`.
pub(crate) fn property(text: &OsStr) -> Result<Property, String> {
    let text = text.as_encoded_bytes();
    match text.iter().position(|byte| *byte == b'=') {
        None | Some(0) => Err("must be `path=value`, as source.address=10.0.0.1:80".to_owned()),
        Some(equals) => Ok(Property { path: text[..equals].to_vec(), value: text[equals + 1..].to_vec() }),
    }
}

/// A text, or the content of a file if it begins with `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Text(Bytes),
    File(PathBuf),
}

/// The most that is read from a file.
const MOST: u64 = 64 << 20;

/// Reads `TEXT` or `@FILE`.
pub(crate) fn content(text: &OsStr) -> Result<Content, String> {
    match text.as_encoded_bytes() {
        [b'@'] => Err("the file's name is missing after `@`".to_owned()),
        [b'@', ..] => {
            let mut name = PathBuf::from(text).into_os_string();
            // `@` is one byte in every encoding that file names have.
            name = name.to_str().map(|name| name[1..].into()).unwrap_or_else(|| without_first(&name));
            Ok(Content::File(name.into()))
        }
        bytes => Ok(Content::Text(Bytes::copy_from_slice(bytes))),
    }
}

#[cfg(unix)]
fn without_first(name: &OsStr) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(&name.as_bytes()[1..]).to_owned()
}

#[cfg(not(unix))]
fn without_first(name: &OsStr) -> std::ffi::OsString {
    name.to_string_lossy().chars().skip(1).collect::<String>().into()
}

impl Content {
    /// The bytes.
    ///
    /// # Errors
    /// If the file cannot be read or is too large.
    pub(crate) fn load(&self) -> Result<Bytes, Failure> {
        match self {
            Content::Text(text) => Ok(text.clone()),
            Content::File(file) => {
                let failed = |error| Failure::new(Exit::Invalid, error);
                let mut bytes = Vec::new();
                let read = File::open(file).and_then(|opened| opened.take(MOST + 1).read_to_end(&mut bytes));
                read.with_context(|| file.display().to_string()).map_err(failed)?;
                if bytes.len() as u64 > MOST {
                    return Err(failed(anyhow::anyhow!("{}: larger than {MOST} bytes", file.display())));
                }
                Ok(bytes.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(bytes("65536"), Ok(65536));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert!(bytes("64MB").is_err() && bytes("MiB").is_err() && bytes("99999999999999GiB").is_err());
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["50", "ms", "0s", "2h", "1e3s", "-1s", "1.1.1s", "nans"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_are_split_at_the_colon_that_ends_their_name() {
        let read = |text: &str| field(OsStr::new(text)).map(|field| (field.name, field.value));
        let pair = |name: &str, value: &str| Ok((name.into(), value.into()));
        assert_eq!(read("Token: a:b "), pair("token", "a:b"));
        assert_eq!(read("x:"), pair("x", ""));
        assert_eq!(read(":authority: a"), pair(":authority", "a"));
        assert!(read("token").is_err() && read(":authority").is_err() && read("").is_err());
    }

    #[test]
    fn contents_are_texts_or_files() {
        assert_eq!(content(OsStr::new("a@b")), Ok(Content::Text("a@b".into())));
        assert_eq!(content(OsStr::new("@a/b")), Ok(Content::File("a/b".into())));
        assert!(content(OsStr::new("@")).is_err());
        assert_eq!(Content::File("no/such".into()).load().unwrap_err().exit, Exit::Invalid);
    }
}
