//! Values that YAML has no type for: scalars of any kind, sizes, durations, plugin configurations, ordered mappings.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::Place;
use super::yaml::At;

/// A string or a number, as its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Text(String),
    Number(f64, String),
}

impl Scalar {
    pub(super) fn text(&self) -> &str {
        match self {
            Scalar::Text(text) | Scalar::Number(_, text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number as f64, number.to_string()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number as f64, number.to_string()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number, number.to_string()))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A number of bytes: `65536`, `64KiB`, `64MiB`, `1GiB`.
pub(super) fn bytes(scalar: &Scalar) -> Result<u64, String> {
    let text = scalar.text();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("must be a number of bytes, as 67108864 or 64MiB (KiB, MiB, GiB)".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "must be a number of bytes, as 64MiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "is too large".to_owned())
}

/// A duration: `50ms`, `1.5s`, `1m`; a bare number is of `unit`, where there is one.
pub(super) fn duration(scalar: &Scalar, unit: Option<Duration>) -> Result<Duration, String> {
    let help = || match unit {
        Some(_) => "must be a duration, as 50ms, 6s or a number of seconds".to_owned(),
        None => "must be a duration with its unit, as 50ms, 5s or 1m".to_owned(),
    };
    let text = scalar.text();
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(end);
    let unit = match suffix {
        "" => unit.ok_or_else(help)?,
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(help()),
    };
    let number: f64 = number.parse().map_err(|_| help())?;
    Duration::try_from_secs_f64(number * unit.as_secs_f64()).map_err(|_| help())
}

/// What a plugin gets as its configuration: a string as it is, a mapping as JSON text in the order of the file; missing
/// and an empty string are no bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) text: String,
    /// Whether there is one, and whether there is anything in it.
    pub(super) content: Content,
}

/// Whether there is a configuration of a plugin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Content {
    /// No, or null.
    #[default]
    Missing,
    /// An empty string or mapping.
    Empty,
    /// More than that.
    Given,
}

impl Conf {
    fn of(text: String, is_empty: bool) -> Self {
        Conf { text, content: if is_empty { Content::Empty } else { Content::Given } }
    }
}

impl<'de> Deserialize<'de> for Conf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConfVisitor;
        impl<'de> Visitor<'de> for ConfVisitor {
            type Value = Conf;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a mapping")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Conf, E> {
                Ok(Conf::of(text.to_owned(), text.is_empty()))
            }
            fn visit_unit<E: Error>(self) -> Result<Conf, E> {
                Ok(Conf::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Conf, A::Error> {
                let Json(text) = JsonVisitor.visit_map(map)?;
                let is_empty = text == "{}";
                Ok(Conf::of(text, is_empty))
            }
        }
        deserializer.deserialize_any(ConfVisitor)
    }
}

/// JSON text of a YAML value. Mappings keep the order that they have in the file.
#[derive(Debug)]
pub(super) struct Json(String);

impl Json {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has, too")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json("null".to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        serde_json::to_string(&value).map(Json).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        serde_json::to_string(value).map(Json).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut out = String::from("[");
        while let Some(Json(item)) = items.next_element()? {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&item);
        }
        out.push(']');
        Ok(Json(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut out = String::from("{");
        while let Some((key, Json(value))) = map.next_entry::<String, Json>()? {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::to_string(&key).map_err(A::Error::custom)?);
            out.push(':');
            out.push_str(&value);
        }
        out.push('}');
        Ok(Json(out))
    }
}

/// What is not looked at.
#[derive(Debug)]
pub(super) struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Ignored)
    }
}

/// The addresses of `node_listen`: a port, or a list of ports and of mappings with `port` and `ip`.
#[derive(Debug)]
pub(super) struct NodeListen(pub(super) Vec<NodeAddress>);

/// One of them; without a place of its own if it is the only one.
#[derive(Debug)]
pub(super) struct NodeAddress {
    pub(super) place: Option<Place>,
    pub(super) port: Scalar,
    pub(super) ip: Option<String>,
}

impl<'de> Deserialize<'de> for NodeListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = NodeListen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port, or a list of ports and of mappings with port and ip")
            }
            fn visit_u64<E: Error>(self, port: u64) -> Result<NodeListen, E> {
                let port = Scalar::Number(port as f64, port.to_string());
                Ok(NodeListen(vec![NodeAddress { place: None, port, ip: None }]))
            }
            fn visit_i64<E: Error>(self, port: i64) -> Result<NodeListen, E> {
                let port = Scalar::Number(port as f64, port.to_string());
                Ok(NodeListen(vec![NodeAddress { place: None, port, ip: None }]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<NodeListen, A::Error> {
                let mut all = Vec::new();
                while let Some(At { value: NodeEntry { port, ip }, place }) = items.next_element()? {
                    all.push(NodeAddress { place: Some(place), port, ip });
                }
                Ok(NodeListen(all))
            }
        }
        deserializer.deserialize_any(ListVisitor)
    }
}

/// One entry of a list.
struct NodeEntry {
    port: Scalar,
    ip: Option<String>,
}

impl<'de> Deserialize<'de> for NodeEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mapping {
            port: Scalar,
            ip: Option<String>,
            #[allow(dead_code)]
            enable_http2: Option<bool>,
        }
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = NodeEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port, or a mapping with port and ip")
            }
            fn visit_u64<E: Error>(self, port: u64) -> Result<NodeEntry, E> {
                Ok(NodeEntry { port: Scalar::Number(port as f64, port.to_string()), ip: None })
            }
            fn visit_i64<E: Error>(self, port: i64) -> Result<NodeEntry, E> {
                Ok(NodeEntry { port: Scalar::Number(port as f64, port.to_string()), ip: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NodeEntry, A::Error> {
                let mapping = Mapping::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(NodeEntry { port: mapping.port, ip: mapping.ip })
            }
        }
        deserializer.deserialize_any(EntryVisitor)
    }
}

/// A mapping in the order of the file, its keys with their places.
#[derive(Debug)]
pub(super) struct Pairs<V>(pub(super) Vec<(At<String>, V)>);

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Pairs(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = Pairs<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(bytes(&text("64MiB")), Ok(64 << 20));
        assert_eq!(bytes(&text("1 GiB")), Ok(1 << 30));
        assert_eq!(bytes(&text("4096")), Ok(4096));
        for bad in ["", "MiB", "-1", "1.5MiB", "64MB", "99999999999999999999", "18446744073709551615GiB", "0x10"] {
            assert!(bytes(&text(bad)).is_err(), "{bad}");
        }
        assert_eq!(duration(&text("50ms"), None), Ok(Duration::from_millis(50)));
        assert_eq!(duration(&text("1.5s"), None), Ok(Duration::from_millis(1500)));
        assert_eq!(
            duration(&Scalar::Number(6.0, "6".into()), Some(Duration::from_secs(1))),
            Ok(Duration::from_secs(6))
        );
        for bad in ["", "ms", "-1s", "1e9s", "5 days", "1..5s", "6", "nan", "infs", "9999999999999999999999999h"] {
            assert!(duration(&text(bad), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plugin_gets_strings_as_they_are_and_mappings_as_json() {
        let read = |yaml| yaml::read::<Conf>(yaml).map(|conf| conf.text);
        assert_eq!(read("plain text").unwrap(), "plain text");
        assert_eq!(read("'{\"body\": 1}'").unwrap(), "{\"body\": 1}");
        assert_eq!(read("''").unwrap(), "");
        assert_eq!(read("null").unwrap(), "");
        assert_eq!(
            read("{ z: 1, a: [true, null, -2.5, \"q\\\"\\n\"], m: { b: {}, 1: x } }").unwrap(),
            r#"{"z":1,"a":[true,null,-2.5,"q\"\n"],"m":{"b":{},"1":"x"}}"#
        );
        let content = |yaml| yaml::read::<Conf>(yaml).unwrap().content;
        for (yaml, expected) in [
            ("null", Content::Missing),
            ("''", Content::Empty),
            ("{}", Content::Empty),
            ("'{}'", Content::Given),
            ("{ a: }", Content::Given),
        ] {
            assert_eq!(content(yaml), expected, "{yaml}");
        }
        for bad in ["42", "true", "[1]", "{ a: .nan }"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
