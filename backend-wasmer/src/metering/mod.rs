//! How guests count their work.
//!
//! Before Wasmer sees a module, a counter and a way to the host are added to it ([`Additions`]). While it is compiled,
//! each function gets code that takes what it costs from the counter ([`Metering`]), at the places that [`charges`]
//! names. Before operators that Wasmer may end by a function of its own on the guest's stack it also looks whether the
//! stack has room for that. When the counter is below zero that code calls the host, which gives the next slice or ends
//! the call ([`Spending`]). The guest can reach none of it: its code was checked before anything was added.

mod additions;
mod charges;
mod middleware;
mod spending;

pub(crate) use additions::{Additions, Names};
pub(crate) use charges::Rule;
#[cfg(test)]
pub(crate) use charges::{NEED_ROOM, needs_room};
pub(crate) use middleware::Metering;
pub(crate) use spending::{Spending, refill};

/// The version of the code that is put into guests; part of the cache key.
pub(crate) const FORMAT: u32 = 3;
