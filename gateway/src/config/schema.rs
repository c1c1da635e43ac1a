//! The JSON schema of the file, made from the types that it is read into.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::values::{Conf, Ignored, Json, NodeListen, Pairs, Scalar};
use super::yaml::At;

/// The JSON schema of the configuration file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(super::file::File).to_value()
}

/// Types whose schema is told here.
macro_rules! told {
    ($($type:ty: $schema:tt)*) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

told! {
    Scalar: { "type": ["string", "number"] }
    Conf: { "type": ["string", "object", "null"] }
    Json: {}
    Ignored: {}
    NodeListen: {
        "oneOf": [
            { "type": "integer" },
            { "type": "array", "items": { "oneOf": [
                { "type": "integer" },
                {
                    "type": "object",
                    "properties": {
                        "port": { "type": ["integer", "string"] },
                        "ip": { "type": "string" },
                        "enable_http2": { "type": "boolean" }
                    },
                    "required": ["port"],
                    "additionalProperties": false
                }
            ] } }
        ]
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<V: JsonSchema> JsonSchema for Pairs<V> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Pairs".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<V>() })
    }
}
