//! Upstreams as they are written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::config::values::{Ignored, Pairs, Scalar};
use crate::config::yaml::At;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    pub(in crate::config) id: Option<At<Scalar>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<At<Balancing>>,
    pub(super) hash_on: Option<At<HashOn>>,
    pub(super) key: Option<At<String>>,
    pub(super) nodes: At<Nodes>,
    pub(super) scheme: Option<At<Scheme>>,
    pub(super) tls: Option<At<Tls>>,
    pub(super) retries: Option<At<Scalar>>,
    pub(super) retry_timeout: Option<At<Scalar>>,
    pub(super) timeout: Option<Timeout>,
    pub(super) pass_host: Option<At<PassHost>>,
    pub(super) upstream_host: Option<At<String>>,
    pub(super) checks: Option<At<Checks>>,
    /// For people.
    #[allow(dead_code)]
    name: Option<Ignored>,
    /// For people.
    #[allow(dead_code)]
    desc: Option<Ignored>,
    /// For people.
    #[allow(dead_code)]
    labels: Option<Ignored>,
    /// Set by APISIX's Admin API.
    #[allow(dead_code)]
    create_time: Option<Ignored>,
    /// Set by APISIX's Admin API.
    #[allow(dead_code)]
    update_time: Option<Ignored>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Balancing {
    Roundrobin,
    Chash,
    LeastConn,
    Ewma,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum HashOn {
    Vars,
    Header,
    Cookie,
    VarsCombinations,
    Consumer,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scheme {
    #[default]
    Http,
    Https,
    Grpc,
    Grpcs,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) verify: Option<bool>,
    pub(super) ca: Option<At<String>>,
    pub(super) client_cert: Option<At<String>>,
    pub(super) client_key: Option<At<String>>,
    pub(super) sni: Option<At<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PassHost {
    Pass,
    Node,
    Rewrite,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Timeout {
    pub(super) connect: Option<At<Scalar>>,
    pub(super) send: Option<At<Scalar>>,
    pub(super) read: Option<At<Scalar>>,
}

/// Nodes as a mapping of addresses to weights, or as a list.
#[derive(Debug)]
pub(super) enum Nodes {
    Map(Pairs<At<Scalar>>),
    List(Vec<At<Node>>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) host: At<String>,
    pub(super) port: At<Scalar>,
    pub(super) weight: At<Scalar>,
    #[serde(default)]
    pub(super) priority: i32,
}

impl JsonSchema for Nodes {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Nodes".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (map, list) = (generator.subschema_for::<Pairs<At<Scalar>>>(), generator.subschema_for::<Vec<At<Node>>>());
        json_schema!({ "oneOf": [map, list] })
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodesVisitor;
        impl<'de> Visitor<'de> for NodesVisitor {
            type Value = Nodes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of addresses to weights, or a list of nodes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Nodes, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Nodes::Map(Pairs(pairs)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Nodes, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = items.next_element()? {
                    nodes.push(node);
                }
                Ok(Nodes::List(nodes))
            }
        }
        deserializer.deserialize_any(NodesVisitor)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Checks {
    pub(super) active: Option<At<Active>>,
    pub(super) passive: Option<At<Passive>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckKind {
    Http,
    Https,
    Tcp,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Active {
    #[serde(rename = "type")]
    pub(super) kind: Option<At<CheckKind>>,
    pub(super) timeout: Option<At<Scalar>>,
    pub(super) concurrency: Option<At<Scalar>>,
    pub(super) host: Option<At<String>>,
    pub(super) port: Option<At<Scalar>>,
    pub(super) http_path: Option<At<String>>,
    pub(super) req_headers: Option<Vec<At<String>>>,
    pub(super) healthy: Option<Healthy>,
    pub(super) unhealthy: Option<Unhealthy>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Passive {
    #[serde(rename = "type")]
    pub(super) kind: Option<At<CheckKind>>,
    pub(super) healthy: Option<PassiveHealthy>,
    pub(super) unhealthy: Option<PassiveUnhealthy>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Healthy {
    pub(super) interval: Option<At<Scalar>>,
    pub(super) http_statuses: Option<Vec<At<Scalar>>>,
    pub(super) successes: Option<At<Scalar>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Unhealthy {
    pub(super) interval: Option<At<Scalar>>,
    pub(super) http_statuses: Option<Vec<At<Scalar>>>,
    pub(super) http_failures: Option<At<Scalar>>,
    pub(super) tcp_failures: Option<At<Scalar>>,
    pub(super) timeouts: Option<At<Scalar>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PassiveHealthy {
    pub(super) http_statuses: Option<Vec<At<Scalar>>>,
    pub(super) successes: Option<At<Scalar>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PassiveUnhealthy {
    pub(super) http_statuses: Option<Vec<At<Scalar>>>,
    pub(super) http_failures: Option<At<Scalar>>,
    pub(super) tcp_failures: Option<At<Scalar>>,
    pub(super) timeouts: Option<At<Scalar>>,
}
