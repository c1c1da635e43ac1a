//! What APISIX's `config.yaml` has beside the plugins: where it listens, and much that has no meaning here.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::error::{Place, Problem};
use super::parser::Parser;
use super::values::{NodeListen, Scalar};
use super::yaml::{At, place};

/// Where APISIX listens if nothing is said.
const PORT: u16 = 9080;

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::endpoints::RawAddress;
    use super::super::section::section;
    use super::super::values::{Ignored, NodeListen};
    use super::super::yaml::At;

    section! {
        /// What APISIX has below `apisix`.
        Apisix {
            /// Where it listens: ports, or addresses with ports.
            node_listen: At<NodeListen>,
            /// Whether there is a control API.
            enable_control: bool,
            /// Where.
            control: RawAddress,
        } ignored {
            proxy_mode enable_admin enable_dev_mode enable_reuseport show_upstream_status_in_response_header
            enable_ipv6 enable_http2 enable_server_tokens extra_lua_path extra_lua_cpath lua_module_hook proxy_cache
            proxy_protocol delete_uri_tail_slash normalize_uri_like_servlet router stream_proxy dns_resolver
            dns_resolver_valid resolver_timeout enable_resolv_search_opt ssl
            disable_sync_configuration_during_start data_encryption events lru tracing trusted_addresses status
            match_uri_encoded allow_admin admin_key
        }
    }

    section! {
        /// What APISIX has below `deployment`.
        Deployment {
            /// What it is for.
            role: At<Role>,
            /// How it gets its routes.
            role_traditional: Provider,
            /// How it gets its routes.
            role_data_plane: Provider,
        } ignored {
            role_control_plane admin etcd certs config_provider
        }
    }

    /// What an instance of APISIX is for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub(in crate::config) enum Role {
        Traditional,
        DataPlane,
        ControlPlane,
    }

    /// How routes come.
    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Provider {
        /// `yaml`: from a file.
        pub(in crate::config) config_provider: Option<At<String>>,
        /// Of APISIX; has no effect.
        #[allow(dead_code)]
        pub(in crate::config) control_plane: Option<Ignored>,
    }
}

impl Parser<'_> {
    /// Where APISIX would listen.
    pub(super) fn node_listen(&mut self, raw: Option<&At<NodeListen>>) -> Vec<SocketAddr> {
        let Some(raw) = raw else { return vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))] };
        if raw.value.0.is_empty() {
            self.problem(place(raw), "apisix.node_listen", "is empty; name at least one port");
        }
        let mut seen = HashSet::new();
        let mut addresses = Vec::new();
        for (index, entry) in raw.value.0.iter().enumerate() {
            let at = entry.place.unwrap_or(raw.place);
            let key = format!("apisix.node_listen[{index}]");
            let address =
                listen_address(&entry.port, entry.ip.as_deref()).and_then(|address| match seen.insert(address) {
                    true => Ok(address),
                    false => Err("is given twice".to_owned()),
                });
            addresses.extend(self.check(at, &key, address));
        }
        addresses
    }

    /// Refuses what would have to come from elsewhere than from a file.
    pub(super) fn deployment(&mut self, raw: &raw::Deployment) {
        if let Some(role) = raw.role.as_ref().filter(|role| role.value == raw::Role::ControlPlane) {
            let cause = "must be data_plane or traditional: Chassis serves requests itself";
            self.problem(place(role), "deployment.role", cause);
        }
        for (name, provider) in [("role_traditional", &raw.role_traditional), ("role_data_plane", &raw.role_data_plane)]
        {
            let provider = provider.as_ref().and_then(|provider| provider.config_provider.as_ref());
            if let Some(provider) = provider.filter(|provider| provider.value != "yaml") {
                let cause = "must be yaml: routes are read from a file, apisix.yaml";
                self.problem(place(provider), &format!("deployment.{name}.config_provider"), cause);
            }
        }
    }

    /// Warns of keys that have no effect.
    pub(super) fn warn_ignored(&mut self, section: &str, keys: Vec<(&'static str, Place)>) {
        for (name, place) in keys {
            let key = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            let problem = Problem::new(place, key, "is of APISIX and has no effect here");
            self.warnings.push(Problem { file: self.file.clone(), ..problem });
        }
    }
}

fn listen_address(port: &Scalar, ip: Option<&str>) -> Result<SocketAddr, String> {
    let port = port.text().parse().map_err(|_| "must be a port, from 0 to 65535")?;
    let ip = match ip {
        Some(ip) => ip.trim_matches(['[', ']']).parse().map_err(|_| "the ip must be an IP address")?,
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    Ok(SocketAddr::new(ip, port))
}
