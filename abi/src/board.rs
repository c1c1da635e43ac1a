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
    /// or consumer takes the place of the earlier one, items of a queue are counted, anything else that is repeated
    /// changes nothing.
    pub(crate) fn push(&mut self, effect: Effect) {
        let next = self.effects.len();
        let place = effect.subject().map_or(next, |subject| *self.asked.entry(subject).or_insert(next));
        if place == next {
            self.effects.push(effect);
            return;
        }
        match (&mut self.effects[place], effect) {
            (before, effect @ (Effect::TickPeriod { .. } | Effect::ConsumeQueue { .. })) => *before = effect,
            (Effect::WakeConsumer { items, .. }, Effect::WakeConsumer { items: more, .. }) => {
                *items = items.saturating_add(more);
            }
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::ContextId;
    use crate::effects::LocalResponse;
    use crate::exchange::Direction;
    use crate::services::{LogRecord, NoRandomness, Property};
    use crate::state::Identity;
    use crate::types::LogLevel;

    struct Nothing;

    impl Services for Nothing {
        fn realtime_nanos(&mut self) -> u64 {
            0
        }

        fn monotonic_nanos(&mut self) -> u64 {
            0
        }

        fn random(&mut self, _: &mut [u8]) -> Result<(), NoRandomness> {
            Err(NoRandomness)
        }

        fn log(&mut self, _: LogRecord<'_>) {}

        fn log_level(&mut self, _: &Identity) -> LogLevel {
            LogLevel::Critical
        }

        fn property(&mut self, _: Option<&Exchange>, _: &[&[u8]]) -> Property {
            Property::NotFound
        }
    }

    fn answer(exchange: Key, context: ContextId, status: u16) -> Effect {
        let response = Box::new(LocalResponse { status, ..LocalResponse::default() });
        Effect::LocalResponse { exchange, context, response }
    }

    /// However often a guest asks in one entry, an effect is kept once for each stream, context and direction that it is
    /// about.
    #[test]
    fn what_is_asked_for_again_takes_no_room() {
        let mut board = Board::new(Box::new(Nothing));
        let exchange = board.exchanges.insert(Exchange::new(crate::HeaderList::default()));
        let context = 1;
        board.begin_entry();
        for time in 0..10_000 {
            board.push(Effect::TickPeriod { context, milliseconds: time });
            board.push(answer(exchange, context, 200 + (time % 300) as u16));
            for direction in [Direction::Request, Direction::Response] {
                board.push(Effect::Continue { exchange, lane: 0, direction });
            }
            board.push(Effect::Close { exchange });
            board.push(Effect::Done { context });
        }
        let continued = |direction| Effect::Continue { exchange, lane: 0, direction };
        // The first answer is the one that is given; of a period the last counts.
        let expected = [
            Effect::TickPeriod { context, milliseconds: 9_999 },
            answer(exchange, context, 200),
            continued(Direction::Request),
            continued(Direction::Response),
            Effect::Close { exchange },
            Effect::Done { context },
        ];
        assert_eq!(board.effects, expected);
        assert_eq!(board.asked.len(), expected.len());

        // What is about something else, and what another entry asks for, stands beside it.
        board.push(Effect::TickPeriod { context: 2, milliseconds: 5 });
        board.push(Effect::Continue { exchange, lane: 1, direction: Direction::Request });
        assert_eq!(board.effects.len(), 8);
        assert_eq!(board.begin_entry(), 8);
        board.push(Effect::Close { exchange });
        assert_eq!((board.effects.len(), board.asked.len()), (9, 1));
    }
}
