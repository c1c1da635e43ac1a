//! Plugins as routes, services, shared sets of plugins and global rules use them.

use std::collections::HashSet;

use bytes::Bytes;
use chassis_abi::Dialect;

use super::error::Place;
use super::near::nearest;
use super::parser::{Parser, SUGGESTIONS};
use super::plugin::PluginConfig;
use super::values::Content;
use super::yaml::{place, shown};

/// A plugin in a chain, with a plugin context of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginUse {
    /// The plugin, an index into [`Config::plugins`](super::Config::plugins).
    pub plugin: usize,
    /// What it gets as its configuration; often empty.
    pub conf: Bytes,
    /// Where it is in the file of routes, for errors that show up later.
    pub place: Place,
}

/// Plugins that see every request that a route takes, before those of the route that run in the same phase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GlobalRuleConfig {
    /// Its id; not empty.
    pub id: String,
    /// Its plugins, in the order in which they see the request.
    pub plugins: Vec<PluginUse>,
}

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::values::{Conf, Ignored, Pairs, Scalar};
    use super::super::yaml::At;

    /// Plugins by their names.
    pub(in crate::config) type Plugins = Pairs<Option<PluginUse>>;

    /// What a plugin gets.
    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct PluginUse {
        /// Its configuration: a string as it is, a mapping as JSON.
        #[serde(default)]
        pub(in crate::config) conf: Conf,
    }

    /// Plugins that every request passes which a route takes.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct GlobalRule {
        /// Its name.
        pub(in crate::config) id: At<Scalar>,
        /// What each plugin gets.
        #[serde(default)]
        pub(in crate::config) plugins: Plugins,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) create_time: Option<Ignored>,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) update_time: Option<Ignored>,
    }
}

impl Parser<'_> {
    pub(super) fn global_rules(&mut self, raw: Vec<super::yaml::At<raw::GlobalRule>>) -> Vec<GlobalRuleConfig> {
        let mut ids = HashSet::new();
        let mut rules = Vec::with_capacity(raw.len());
        for (index, rule) in raw.iter().enumerate() {
            let key = format!("global_rules[{index}]");
            let id = rule.value.id.value.text().to_owned();
            self.unique(&mut ids, &id, place(&rule.value.id), &key, "global rule");
            let plugins = self.plugin_uses(&rule.value.plugins, &key);
            rules.push(GlobalRuleConfig { id, plugins: self.merged(plugins, std::iter::empty()) });
        }
        self.global_uses = rules.iter().map(|rule| rule.plugins.len()).sum();
        rules
    }

    /// The plugins that are named, in the order of the file.
    pub(super) fn plugin_uses(&mut self, raw: &raw::Plugins, key: &str) -> Vec<PluginUse> {
        let mut uses = Vec::with_capacity(raw.0.len());
        for (name, plugin_use) in &raw.0 {
            let key = format!("{key}.plugins.{}", shown(&name.value));
            let Some(&plugin) = self.names.get(&name.value) else {
                // Each is compared with all names, which a file with very many of both would make a work of hours.
                let names = self.names.keys().map(String::as_str);
                let near = (self.problems.len() < SUGGESTIONS).then(|| nearest(&name.value, names));
                let cause = match near.flatten() {
                    Some(near) => format!("unknown plugin; did you mean `{near}`?"),
                    None => "unknown plugin; wasm.plugins has none of that name".to_owned(),
                };
                self.problem(place(name), &key, cause);
                continue;
            };
            let conf = plugin_use.as_ref().map(|plugin_use| plugin_use.conf.clone()).unwrap_or_default();
            // APISIX's words, as its users look for them.
            let refused = match conf.content {
                Content::Missing => Some("property \"conf\" is required"),
                Content::Empty => {
                    Some("property \"conf\" validation failed: value should match only one schema, but matches none")
                }
                Content::Given => None,
            };
            if let Some(refused) = refused.filter(|_| self.plugins[plugin].dialect == Dialect::Apisix) {
                self.problem(place(name), &key, refused);
            }
            uses.push(PluginUse { plugin, conf: conf.text.into(), place: place(name) });
        }
        uses
    }

    /// A chain's own plugins and, of those that it inherits, the ones that nobody before has, in their order.
    pub(super) fn merged<'a>(
        &self,
        mut own: Vec<PluginUse>,
        inherited: impl Iterator<Item = &'a Vec<PluginUse>>,
    ) -> Vec<PluginUse> {
        let mut there: HashSet<usize> = own.iter().map(|plugin_use| plugin_use.plugin).collect();
        for more in inherited {
            own.extend(more.iter().filter(|plugin_use| there.insert(plugin_use.plugin)).cloned());
        }
        let order = |plugin_use: &PluginUse| order(&self.plugins[plugin_use.plugin], plugin_use.plugin);
        own.sort_by_key(order);
        own
    }
}

fn order(plugin: &PluginConfig, index: usize) -> (super::Phase, i64, usize) {
    (plugin.phase, -i64::from(plugin.priority), index)
}
