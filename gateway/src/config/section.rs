//! Sections that APISIX has, of which some keys have no effect here.

/// A mapping whose keys are all known, though not all used.
macro_rules! section {
    ($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $used:ident: $type:ty,)* } ignored {
        $($ignored:ident)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(in crate::config) struct $name {
            $($(#[$attribute])* pub(in crate::config) $used: Option<$type>,)*
            $(
                #[doc = "Of APISIX; has no effect."]
                $ignored: Option<$crate::config::yaml::At<$crate::config::values::Ignored>>,
            )*
        }

        impl $name {
            /// The keys that are given and have no effect.
            pub(in crate::config) fn ignored(&self) -> Vec<(&'static str, $crate::config::error::Place)> {
                let all = [$((stringify!($ignored), &self.$ignored)),*];
                all.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.place))).collect()
            }
        }
    };
}

pub(super) use section;
