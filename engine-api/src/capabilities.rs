//! What an engine can do, and in which configuration it runs.

/// What an engine can do and how well: data for refusals, reports and tests, never a reason to panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The engine's name, as users write it.
    pub name: &'static str,
    /// The engine's version.
    pub version: &'static str,
    /// Whether it compiles to machine code; else it interprets.
    pub native_code: bool,
    /// Whether compiled code can be saved and loaded.
    pub aot: Support,
    /// How it stops a call at its deadline.
    pub deadline: Support,
    /// By which factor a deadline may be missed on a quiet machine, at worst.
    pub deadline_scale: u32,
    /// How it stops a call when its fuel is used up.
    pub fuel: Support,
    /// How it holds the memory limit.
    pub memory_limit: Support,
    /// How it holds the table limit.
    pub table_limit: Support,
    /// How it ends endless recursion.
    pub depth_limit: Support,
    /// Whether a trap carries the guest's frames.
    pub backtrace: Support,
    /// Whether instances are cheap enough to make one per stream.
    pub cheap_instances: Support,
}

/// How a guarantee is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// As promised.
    Exact,
    /// Approximately; the text says how.
    Coarse(&'static str),
    /// Not at all; the text says why.
    None(&'static str),
}

impl Support {
    /// Whether the guarantee is met, exactly or coarsely.
    pub fn is_some(self) -> bool {
        !matches!(self, Support::None(_))
    }

    /// `exact`, `coarse` or `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Support::Exact => "exact",
            Support::Coarse(_) => "coarse",
            Support::None(_) => "none",
        }
    }

    /// How or why, where it is not exact.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Support::Exact => None,
            Support::Coarse(reason) | Support::None(reason) => Some(reason),
        }
    }
}

/// The engine-wide settings of an engine value. They are part of its cache key, as compiled code depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// Calls end at a deadline.
    #[default]
    Deadline,
    /// Calls end at a deadline and are metered by fuel.
    Fuel,
    /// As `Deadline`, with instances from a pool, for one instance per stream.
    Stream,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Profile; 3] = [Profile::Deadline, Profile::Fuel, Profile::Stream];

    /// The profile's name: `deadline`, `fuel` or `stream`.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Deadline => "deadline",
            Profile::Fuel => "fuel",
            Profile::Stream => "stream",
        }
    }

    /// The profile of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Profile::ALL.into_iter().find(|profile| profile.as_str() == name)
    }
}
