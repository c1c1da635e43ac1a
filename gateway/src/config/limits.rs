//! Sections `limits` and `paths`: what a worker may hold, and how it takes paths.

use super::parser::Parser;
use super::values::bytes;
use super::yaml::place;

/// How the paths of requests are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathRules {
    /// What becomes of `%2f` and `%5c`.
    pub escaped_slashes: EscapedSlashes,
}

/// What becomes of encoded slashes and backslashes in a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// 400.
    #[default]
    Reject,
    /// They are a part of their segment, for routes and plugins, and forwarded as they came.
    Keep,
}

/// What each worker may hold for all its clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLimits {
    /// Connections of clients: 1 to 1,000,000, 4096 by default. Above it no further one is accepted until one ends.
    pub connections: usize,
    /// Bytes of bodies that are in chains of plugins or have passed them and not left yet: 64 KiB to 1 TiB, 256 MiB by
    /// default. Above it a stream that holds back more is refused.
    pub buffered_body: u64,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        WorkerLimits { connections: 4096, buffered_body: 256 << 20 }
    }
}

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::values::Scalar;
    use super::super::yaml::At;

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Paths {
        #[serde(default)]
        pub(in crate::config) escaped_slashes: EscapedSlashes,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct WorkerLimits {
        pub(in crate::config) connections: Option<At<Scalar>>,
        pub(in crate::config) buffered_body: Option<At<Scalar>>,
    }

    #[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(in crate::config) enum EscapedSlashes {
        #[default]
        Reject,
        Keep,
    }
}

impl Parser<'_> {
    pub(super) fn worker_limits(&mut self, raw: &raw::WorkerLimits) -> WorkerLimits {
        let mut limits = WorkerLimits::default();
        if let Some(raw) = &raw.connections {
            let value = raw.value.text().parse().ok().filter(|count| (1..=1_000_000).contains(count));
            let value = value.ok_or_else(|| "must be a number from 1 to 1000000".to_owned());
            limits.connections = self.check(place(raw), "limits.connections", value).unwrap_or(limits.connections);
        }
        if let Some(raw) = &raw.buffered_body {
            let value = bytes(&raw.value).and_then(|bytes| {
                let allowed = (64 << 10)..=(1 << 40);
                allowed.contains(&bytes).then_some(bytes).ok_or_else(|| "must be from 64KiB to 1024GiB".to_owned())
            });
            limits.buffered_body =
                self.check(place(raw), "limits.buffered_body", value).unwrap_or(limits.buffered_body);
        }
        limits
    }
}

pub(super) fn paths(raw: &raw::Paths) -> PathRules {
    let escaped_slashes = match raw.escaped_slashes {
        raw::EscapedSlashes::Reject => EscapedSlashes::Reject,
        raw::EscapedSlashes::Keep => EscapedSlashes::Keep,
    };
    PathRules { escaped_slashes }
}
