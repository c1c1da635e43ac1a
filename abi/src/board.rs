//! What a worker owns and lends to the guest that runs.

use std::fmt;

use crate::effects::Effect;
use crate::exchange::Exchange;
use crate::observer::Observer;
use crate::services::Services;
use crate::slab::Slab;

/// The streams of a worker, the effects that wait to be carried out, and the services that answer host calls.
///
/// The worker owns one in a `Box`. Entering a guest moves the `Box` into the instance's state and back, traps and panics
/// included, so that host functions reach it without sharing it.
pub struct Board {
    /// The streams.
    pub exchanges: Slab<Exchange>,
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    /// What answers host calls.
    pub services: Box<dyn Services>,
    /// What watches callbacks and host calls; off is one branch per host call.
    pub observer: Option<Box<dyn Observer>>,
}

impl Board {
    /// A board without streams.
    pub fn new(services: Box<dyn Services>) -> Box<Self> {
        Box::new(Board { exchanges: Slab::default(), effects: Vec::new(), services, observer: None })
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("exchanges", &self.exchanges.len()).field("effects", &self.effects).finish()
    }
}
