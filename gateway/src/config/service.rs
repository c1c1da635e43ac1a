//! Sections `services` and `plugin_configs`: what routes share.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};

use super::chain::PluginUse;
use super::error::Place;
use super::near::nearest;
use super::parser::{Parser, SUGGESTIONS};
use super::route::HostPattern;
use super::upstream::{NamedUpstream, NodeAddress, UpstreamConfig};
use super::values::Scalar;
use super::yaml::{At, place, shown};

/// What routes may refer to, by id.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) upstreams: HashMap<String, SharedUpstream>,
    pub(super) plugin_configs: HashMap<String, Vec<PluginUse>>,
    pub(super) services: HashMap<String, Service>,
}

/// What routes inherit.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) hosts: Vec<HostPattern>,
    pub(super) plugins: Vec<PluginUse>,
    pub(super) upstream: Option<SharedUpstream>,
    pub(super) enable_websocket: bool,
}

/// An upstream that is copied into what refers to it.
#[derive(Debug)]
pub(super) struct SharedUpstream {
    config: UpstreamConfig,
    /// How much a copy counts, against all that may be inherited.
    weight: usize,
}

impl SharedUpstream {
    fn new(config: UpstreamConfig) -> Self {
        let weight = weight(&config);
        SharedUpstream { config, weight }
    }
}

/// What a route says of its upstream.
pub(super) struct Named<'r> {
    pub(super) own: &'r Option<At<super::upstream::raw::Upstream>>,
    pub(super) id: &'r Option<At<Scalar>>,
    pub(super) service_id: &'r Option<At<Scalar>>,
    /// What `service_id` stands for.
    pub(super) service: Option<&'r Service>,
}

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::chain::raw::Plugins;
    use super::super::upstream::raw::Upstream;
    use super::super::values::{Ignored, Scalar};
    use super::super::yaml::At;

    /// What routes inherit that name it.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Service {
        /// What routes call it.
        pub(in crate::config) id: At<Scalar>,
        /// For routes that name none.
        pub(in crate::config) hosts: Option<At<Vec<At<String>>>>,
        /// What each plugin gets.
        #[serde(default)]
        pub(in crate::config) plugins: Plugins,
        /// For routes that name none.
        pub(in crate::config) upstream: Option<At<Upstream>>,
        /// One of `upstreams`.
        pub(in crate::config) upstream_id: Option<At<Scalar>>,
        /// Whether connections may be upgraded to WebSocket.
        #[serde(default)]
        pub(in crate::config) enable_websocket: bool,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) name: Option<Ignored>,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) desc: Option<Ignored>,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) labels: Option<Ignored>,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) create_time: Option<Ignored>,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) update_time: Option<Ignored>,
    }

    /// Plugins that several routes have.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct PluginConfig {
        /// What routes call it.
        pub(in crate::config) id: At<Scalar>,
        /// What each plugin gets.
        #[serde(default)]
        pub(in crate::config) plugins: Plugins,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) name: Option<Ignored>,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) desc: Option<Ignored>,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) labels: Option<Ignored>,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) create_time: Option<Ignored>,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) update_time: Option<Ignored>,
    }
}

impl Parser<'_> {
    pub(super) fn shared(
        &mut self,
        upstreams: &[NamedUpstream],
        plugin_configs: &[At<raw::PluginConfig>],
        services: &[At<raw::Service>],
    ) -> Shared {
        let named = upstreams.iter().map(|named| (named.id.clone(), SharedUpstream::new(named.upstream.clone())));
        let mut shared = Shared { upstreams: named.collect(), ..Shared::default() };
        let mut ids = HashSet::new();
        for (index, raw) in plugin_configs.iter().enumerate() {
            let (key, raw) = (format!("plugin_configs[{index}]"), &raw.value);
            let id = raw.id.value.text().to_owned();
            self.unique(&mut ids, &id, place(&raw.id), &key, "plugin_config");
            let plugins = self.plugin_uses(&raw.plugins, &key);
            shared.plugin_configs.insert(id, plugins);
        }
        let mut ids = HashSet::new();
        for (index, raw) in services.iter().enumerate() {
            let (key, raw) = (format!("services[{index}]"), &raw.value);
            let id = raw.id.value.text().to_owned();
            self.unique(&mut ids, &id, place(&raw.id), &key, "service");
            let service = Service {
                hosts: self.hosts(&None, &raw.hosts, &key),
                plugins: self.plugin_uses(&raw.plugins, &key),
                upstream: self
                    .upstream_of(&raw.upstream, &raw.upstream_id, &shared, &key, format!("services/{id}"))
                    .map(SharedUpstream::new),
                enable_websocket: raw.enable_websocket,
            };
            shared.services.insert(id, service);
        }
        shared
    }

    /// The upstream that a route or a service names, by id or in its place, as in APISIX; its own is called `name`.
    pub(super) fn upstream_of(
        &mut self,
        own: &Option<At<super::upstream::raw::Upstream>>,
        id: &Option<At<Scalar>>,
        shared: &Shared,
        key: &str,
        name: String,
    ) -> Option<UpstreamConfig> {
        let named = self.reference(id, &shared.upstreams, key, "upstream_id");
        let named = id.as_ref().zip(named).and_then(|(id, named)| self.copied(named, place(id), key));
        let own = own.as_ref().map(|own| (place(own), self.upstream(&own.value, &format!("{key}.upstream"), name)));
        if let (Some((place, _)), Some(_)) = (&own, id) {
            self.warning(*place, &format!("{key}.upstream"), "has no effect beside upstream_id");
        }
        match id {
            Some(_) => named,
            None => own.map(|(_, own)| own),
        }
    }

    fn copied(&mut self, upstream: &SharedUpstream, place: Place, key: &str) -> Option<UpstreamConfig> {
        self.may_inherit(upstream.weight, place, key).then(|| upstream.config.clone())
    }

    /// The upstream of a route: its own, or that of its service. A problem if there is none, and then any.
    pub(super) fn upstream_of_route(
        &mut self,
        named: Named<'_>,
        shared: &Shared,
        route: Place,
        key: &str,
        name: String,
    ) -> UpstreamConfig {
        let Named { own, id, service_id, service } = named;
        let found = self.upstream_of(own, id, shared, key, name);
        let found = found.or_else(|| self.copied(service?.upstream.as_ref()?, route, key));
        // An id that stands for nothing was told of already, and so was a copy too many.
        let is_told = id.is_some() || service_id.is_some() && service.is_none_or(|service| service.upstream.is_some());
        if found.is_none() && !is_told {
            let cause = "is missing; give upstream, upstream_id, or service_id of a service that has one";
            self.problem(route, &format!("{key}.upstream"), cause);
        }
        found.unwrap_or_else(|| UpstreamConfig::single(NodeAddress::Tcp(String::new())))
    }

    /// What an id stands for; a problem if nothing does.
    pub(super) fn reference<'s, T>(
        &mut self,
        id: &Option<At<Scalar>>,
        known: &'s HashMap<String, T>,
        key: &str,
        name: &str,
    ) -> Option<&'s T> {
        let id = id.as_ref()?;
        let found = known.get(id.value.text());
        if found.is_none() {
            let text = id.value.text();
            let near = (self.problems.len() < SUGGESTIONS).then(|| nearest(text, known.keys().map(String::as_str)));
            let cause = match near.flatten() {
                Some(near) => format!("there is no `{}`; did you mean `{near}`?", shown(text)),
                None => format!("there is no `{}`", shown(text)),
            };
            self.problem(place(id), &format!("{key}.{name}"), cause);
        }
        found
    }

    /// Checks an id: not empty, and not given before.
    pub(super) fn unique(&mut self, ids: &mut HashSet<String>, id: &str, place: Place, key: &str, what: &str) {
        if id.is_empty() {
            self.problem(place, &format!("{key}.id"), "is empty");
        }
        if !ids.insert(id.to_owned()) {
            self.problem(place, &format!("{key}.id"), format!("there is another {what} with id `{}`", shown(id)));
        }
    }
}

/// How much a copy of an upstream counts: each of its nodes, and more if there is much text in it, whatever it is of.
fn weight(upstream: &UpstreamConfig) -> usize {
    let mut text = TextLength(0);
    // Counting does not fail.
    let _ = write!(text, "{upstream:?}");
    upstream.nodes.len() + text.0 / TEXT_OF_ONE
}

/// How many bytes count as much as a node does: more than an upstream of one node has usually.
const TEXT_OF_ONE: usize = 1024;

struct TextLength(usize);

impl fmt::Write for TextLength {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
