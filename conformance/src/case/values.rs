//! Values in case files: bytes as text, header fields, sizes and times.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// A text of several lines, compared line by line without the white space at their ends.
pub(super) type Text = String;

/// Bytes as text: `\xNN` is a byte, `\\` a backslash, `\n`, `\r`, `\t` and `\0` what they always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Reads the text form of bytes.
///
/// # Errors
/// In words, for a backslash that begins nothing known.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (byte, used) = match escape.as_bytes().first() {
            Some(b'\\') => (b'\\', 1),
            Some(b'n') => (b'\n', 1),
            Some(b'r') => (b'\r', 1),
            Some(b't') => (b'\t', 1),
            Some(b'0') => (0, 1),
            Some(b'"') => (b'"', 1),
            Some(b'x') => {
                let digits = escape.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (byte.ok_or("`\\x` must be followed by two hexadecimal digits")?, 3)
            }
            _ => return Err("a backslash is written `\\\\`, a byte `\\xNN`".to_owned()),
        };
        out.push(byte);
        rest = &escape[used..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unescape(&text).map(Bytes).map_err(D::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes as text: `\\xNN` is a byte, `\\\\` a backslash, `\\n`, `\\r`, `\\t` and `\\0` what they always are.",
            "type": ["string", "number", "boolean"],
        })
    }
}

/// Bytes: a text, or a text that is repeated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    text: Vec<u8>,
    times: u32,
}

impl Content {
    fn once(text: Vec<u8>) -> Self {
        Content { text, times: 1 }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        (self.text.len() as u64).saturating_mul(u64::from(self.times))
    }

    /// All of it; whoever asks has looked at [`len`](Content::len).
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.text.repeat(self.times as usize)
    }
}

/// A text that is repeated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Repeated {
    /// The text.
    text: Bytes,
    /// How often.
    times: u32,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or `text` and `times`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                unescape(text).map(Content::once).map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Content, E> {
                Ok(Content::once(number.to_string().into_bytes()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Content, E> {
                Ok(Content::once(number.to_string().into_bytes()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
                let Repeated { text, times } = Repeated::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Content { text: text.0, times })
            }
        }
        deserializer.deserialize_any(Of)
    }
}

impl JsonSchema for Content {
    fn schema_name() -> Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes: a text, or a text that is repeated.",
            "anyOf": [generator.subschema_for::<Bytes>(), generator.subschema_for::<Repeated>()],
        })
    }
}

/// Header fields in order, each `name: value` in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Fields(pub Vec<Field>);

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header field, `name: value`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
                let one = "must be one header field, `name: value`; each has a dash of its own";
                let (name, value) = map.next_entry::<Bytes, Bytes>()?.ok_or_else(|| A::Error::custom(one))?;
                if map.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom(one));
                }
                Ok(Field { name: name.0, value: value.0 })
            }
        }
        deserializer.deserialize_map(Of)
    }
}

impl JsonSchema for Field {
    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A header field: its name and its value.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": generator.subschema_for::<Bytes>(),
        })
    }
}

/// What arrived, or that nothing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached<T> {
    /// `none`: nothing arrived.
    Nothing,
    /// This arrived.
    This(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Reached<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Of<T> {
            type Value = Reached<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none`, or what arrived")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Reached<T>, E> {
                if text == "none" { Ok(Reached::Nothing) } else { Err(E::custom("must be `none`, or what arrived")) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reached<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Reached::This)
            }
        }
        deserializer.deserialize_any(Of(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Reached<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrNone", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "none" }, generator.subschema_for::<T>()] })
    }
}

/// A number of bytes: `65536`, `64KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// The number, as far as this machine goes.
    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err("must be a number of bytes, as 512, 64KiB or 1MiB".to_owned()),
    };
    let number: Option<u64> = number.parse().ok();
    let size = number.and_then(|number| number.checked_mul(factor)).filter(|size| (1..=1 << 32).contains(size));
    size.ok_or_else(|| "must be 1 to 4096MiB".to_owned())
}

/// A length of time: `50ms`, `5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        _ => return Err("must be a time with its unit, as 50ms or 5s".to_owned()),
    };
    let number: Option<u64> = number.parse().ok();
    let time = number.and_then(|number| number.checked_mul(unit)).filter(|time| (1..=3_600_000).contains(time));
    time.map(Duration::from_millis).ok_or_else(|| "must be 1ms to 3600s".to_owned())
}

macro_rules! from_text {
    ($type:ident $read:ident $doc:literal $pattern:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $read(&text).map($type).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $doc, "type": ["string", "integer"], "pattern": $pattern })
            }
        }
    };
}

from_text!(Size size "A number of bytes: `65536`, `64KiB`, `1MiB`." "^[0-9]+ *(B|KiB|MiB)?$");
from_text!(Time time "A length of time: `50ms`, `5s`." "^[0-9]+(ms|s)$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_text_form() {
        assert_eq!(unescape("a\\xff\\\\\\n\\0ü").unwrap(), b"a\xff\\\n\0\xc3\xbc");
        for wrong in ["\\", "\\q", "\\x", "\\xf", "\\xfg", "\\xü"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!((size("7"), size("64KiB"), size("2 MiB")), (Ok(7), Ok(64 << 10), Ok(2 << 20)));
        assert_eq!((time("50ms"), time("2s")), (Ok(Duration::from_millis(50)), Ok(Duration::from_secs(2))));
        for wrong in ["", "0", "KiB", "1GiB", "99999999999999MiB", "-1"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "5", "0s", "ms", "1h", "99999999999999999999s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
