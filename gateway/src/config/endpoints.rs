//! Where operators ask and tell a gateway: the sections of APISIX for metrics, the control API and the Admin API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;

use super::apisix::raw::Apisix;
use super::error::Problem;
use super::values::{Ignored, Scalar};
use super::yaml::{At, place};

/// Where operators ask and tell a gateway. What is not named is not listened on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Metrics, for Prometheus: `plugin_attr.prometheus`.
    pub metrics: Option<SocketAddr>,
    /// The control API: `apisix.control`.
    pub control: Option<SocketAddr>,
}

/// As it is written. APISIX has there what its own plugins need, which is not looked at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct RawPluginAttr {
    /// Metrics.
    prometheus: Option<RawPrometheus>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawPrometheus {
    /// Whether there are metrics.
    enable_export_server: Option<bool>,
    /// Where.
    export_addr: Option<RawAddress>,
    /// Of APISIX; has no effect.
    #[allow(dead_code)]
    export_uri: Option<Ignored>,
    /// Of APISIX; has no effect.
    #[allow(dead_code)]
    metric_prefix: Option<Ignored>,
    /// Of APISIX; has no effect.
    #[allow(dead_code)]
    metrics: Option<Ignored>,
    /// Of APISIX; has no effect.
    #[allow(dead_code)]
    default_buckets: Option<Ignored>,
}

/// An address as APISIX has it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAddress {
    /// The loopback if left out.
    ip: Option<At<String>>,
    port: Option<At<Scalar>>,
}

/// Where APISIX has its control API and its metrics.
const CONTROL_PORT: u16 = 9090;
const METRICS_PORT: u16 = 9091;

pub(super) fn endpoints(
    apisix: Option<&Apisix>,
    attr: Option<&RawPluginAttr>,
    problems: &mut Vec<Problem>,
) -> EndpointConfig {
    let control = apisix
        .and_then(|apisix| address(apisix.enable_control, &apisix.control, CONTROL_PORT, "apisix.control", problems));
    let metrics = attr.and_then(|attr| attr.prometheus.as_ref()).and_then(|prometheus| {
        let enabled = prometheus.enable_export_server.or(Some(true));
        let key = "plugin_attr.prometheus.export_addr";
        address(enabled, &prometheus.export_addr, METRICS_PORT, key, problems)
    });
    EndpointConfig { metrics, control }
}

/// On the loopback unless another address is given. Enabled by being given, too.
fn address(
    enabled: Option<bool>,
    raw: &Option<RawAddress>,
    default_port: u16,
    key: &str,
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let none = RawAddress::default();
    let given = raw.as_ref().unwrap_or(&none);
    let mut ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if let Some(raw) = &given.ip {
        let bare = raw.value.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(parsed) => ip = parsed,
            Err(_) => {
                problems.push(Problem::new(place(raw), format!("{key}.ip"), "must be an IP address, as 127.0.0.1"))
            }
        }
    }
    let mut port = default_port;
    if let Some(raw) = &given.port {
        match raw.value.text().parse() {
            Ok(parsed) => port = parsed,
            Err(_) => problems.push(Problem::new(place(raw), format!("{key}.port"), "must be a port, from 0 to 65535")),
        }
    }
    enabled.unwrap_or(raw.is_some()).then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> Result<EndpointConfig, String> {
        let config = Config::parse(&format!("listen: [127.0.0.1:0]\n{text}"), Path::new("a.yaml"));
        config.map(|config| config.endpoints).map_err(|error| error.to_string())
    }

    #[test]
    fn the_words_of_apisix() {
        let at = |text: &str| Some(text.parse().unwrap());
        for (text, metrics, control) in [
            ("", None, None),
            ("apisix: { enable_control: true }", None, at("127.0.0.1:9090")),
            ("apisix: { control: { port: 0 } }", None, at("127.0.0.1:0")),
            ("apisix: { enable_control: false, control: { port: 1 } }", None, None),
            ("plugin_attr: { prometheus: {} }", at("127.0.0.1:9091"), None),
            ("plugin_attr: { prometheus: { enable_export_server: false } }", None, None),
            ("plugin_attr: { prometheus: { export_addr: { ip: \"::\", port: 1 } } }", at("[::]:1"), None),
        ] {
            assert_eq!(config(text).unwrap(), EndpointConfig { metrics, control }, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        for (text, wanted) in [
            ("apisix: { control: { ip: localhost } }", "a.yaml:2:26: apisix.control.ip: must be an IP address"),
            ("apisix: { control: { port: 65536 } }", "a.yaml:2:28: apisix.control.port: must be a port"),
            ("plugin_attr: { prometheus: { export_adr: {} } }", "export_addr"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
