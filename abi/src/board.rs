//! What a worker owns and lends to the guest that runs.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::effects::{Effect, Subject};
use crate::exchange::Exchange;
use crate::observer::Observer;
use crate::services::Services;
use crate::slab::{Key, Slab};

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
    /// Where in `effects` the running entry's effect on a subject is.
    asked: FxHashMap<Subject, usize>,
}

impl Board {
    /// A board without streams.
    pub fn new(services: Box<dyn Services>) -> Box<Self> {
        Box::new(Board {
            exchanges: Slab::default(),
            effects: Vec::new(),
            services,
            observer: None,
            asked: FxHashMap::default(),
        })
    }

    /// Begins an entry; gives the number of effects that it must not touch.
    #[inline]
    pub(crate) fn begin_entry(&mut self) -> usize {
        if !self.asked.is_empty() {
            self.forget_asked();
        }
        self.effects.len()
    }

    #[cold]
    fn forget_asked(&mut self) {
        self.asked.clear();
        // Room for what one guest once asked for is not kept for ever, and not cleared each time.
        self.asked.shrink_to(KEPT_SUBJECTS);
    }

    /// Adds an effect. A guest that asks for the same thing many times in one entry has it once: a repeated timer period
    /// takes the place of the earlier one, anything else that is repeated changes nothing.
    pub(crate) fn push(&mut self, effect: Effect) {
        let next = self.effects.len();
        let place = *self.asked.entry(effect.subject()).or_insert(next);
        if place == next {
            self.effects.push(effect);
        } else if let Effect::TickPeriod { .. } = effect {
            self.effects[place] = effect;
        }
    }

    /// Whether the running entry has asked for a local response to this stream.
    pub(crate) fn is_being_answered(&self, exchange: Key) -> bool {
        self.asked.contains_key(&Subject::Response(exchange))
    }
}

/// For how many effects of an entry there is room without asking for memory.
const KEPT_SUBJECTS: usize = 32;

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("exchanges", &self.exchanges.len()).field("effects", &self.effects).finish()
    }
}
