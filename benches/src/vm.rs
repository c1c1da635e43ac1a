//! One VM without a worker around it: an instance, a board, a plugin context and a stream context.

use bytes::Bytes;
use chassis_abi::{
    Board, Callback, Context, ContextId, EntryError, Exchange, HeaderList, Identity, Key, Lane, LogLevel, LogRecord,
    NoRandomness, Property, Services, VmState, begin, enter,
};
use chassis_engine_api::{AnyLinked, Budget, Instance, Limits, Stop, clock};
use std::hint::black_box;
use std::time::Duration;

use crate::host_calls::Ends;

/// The plugin context.
pub(crate) const PLUGIN: ContextId = 1;
/// The stream context.
pub(crate) const STREAM: ContextId = 2;
/// The value of each header: 32 bytes.
pub(crate) const VALUE: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// As in production, but for the length: every engine watches the clock, and the slowest one has the time it needs.
pub(crate) const BUDGET: Duration = Duration::from_secs(120);

/// What a stream has before each callback.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    request: HeaderList,
    body: Bytes,
}

impl Stream {
    /// A request with so many headers, `x-header-0` and on, each of 32 bytes, and a body of so many bytes.
    pub(crate) fn new(headers: usize, body: usize) -> Self {
        let request = (0..headers)
            .map(|i| (Bytes::from(format!("x-header-{i}")), Bytes::from_static(VALUE)))
            .collect::<HeaderList>();
        Stream { request, body: vec![b'b'; body].into() }
    }

    fn exchange(&self) -> Exchange {
        let mut exchange = Exchange::new(self.request.clone());
        let mut lane = Lane { context: Some(STREAM), ..Lane::default() };
        lane.request.body.push(self.body.clone());
        lane.request.body_open = true;
        exchange.lanes = vec![lane];
        exchange
    }
}

/// A VM between callbacks.
pub(crate) struct Vm {
    instance: Box<dyn Instance<VmState>>,
    board: Option<Box<Board>>,
    exchange: Key,
    stream: Stream,
}

impl Vm {
    /// Makes the instance, its contexts and its stream.
    ///
    /// # Errors
    /// If the engine cannot.
    pub(crate) fn new(linked: &dyn AnyLinked<VmState>, stream: Stream) -> Result<Self, String> {
        let mut board = Some(Board::new(Box::new(Outside)));
        let mut instance = instance(linked, &mut board)?;
        let exchanges = &mut board.as_mut().ok_or("the board is gone")?.exchanges;
        let exchange = exchanges.insert(stream.exchange());
        let state = instance.state();
        state.configurations = vec![Bytes::from_static(b"the plugin's configuration: 32 B.").into()];
        let plugin = state.contexts.create(Context::Plugin { configuration: 0, pending_done: true });
        let context = state.contexts.create(Context::Stream { parent: plugin, exchange, lane: 0 });
        assert_eq!((plugin, context), (PLUGIN, STREAM), "contexts are counted from 1");
        Ok(Vm { instance, board, exchange, stream })
    }

    /// Calls the guest, which gives `times` to its loop, and answers its result.
    ///
    /// # Errors
    /// If it ends otherwise than it should.
    #[inline]
    pub(crate) fn call(&mut self, callback: Callback, times: u32, ends: Ends) -> Result<u32, String> {
        let context = if callback == Callback::RequestHeaders { STREAM } else { PLUGIN };
        let budget = Budget::deadline(BUDGET);
        let (instance, running) = (&mut *self.instance, clock::enter());
        match enter(instance, &running, &mut self.board, callback, context, &[times, 0], &budget) {
            Ok(Some(result)) if ends != Ends::ByExit => Ok(black_box(result)),
            Ok(_) => Err(format!("{} was to exit, or is not there", callback.name())),
            Err(error) => match *error {
                EntryError::Stopped { stop: Stop::Exit(_), .. } if ends == Ends::ByExit => Ok(0),
                error => Err(error.to_string()),
            },
        }
    }

    /// Makes the stream as it was at first, and forgets the effects.
    pub(crate) fn renew(&mut self) {
        let Some(board) = self.board.as_mut() else { return };
        board.effects.clear();
        if let Some(exchange) = board.exchanges.get_mut(self.exchange) {
            *exchange = self.stream.exchange();
        }
        if let Some(Context::Plugin { pending_done, .. }) = self.instance.state().contexts.get_mut(PLUGIN) {
            *pending_done = true;
        }
    }
}

/// An instance of a module, with the board lent to it for its start section.
///
/// # Errors
/// If the engine cannot make it.
pub(crate) fn instance(
    linked: &dyn AnyLinked<VmState>,
    board: &mut Option<Box<Board>>,
) -> Result<Box<dyn Instance<VmState>>, String> {
    let identity = Identity {
        name: "bench".to_owned(),
        environment: vec![("A".to_owned(), "1".to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())],
        ..Identity::default()
    };
    begin(linked, identity, board, &Limits::default(), Budget::deadline(BUDGET)).map_err(|stop| stop.to_string())
}

/// A board without streams.
pub(crate) fn board() -> Box<Board> {
    Board::new(Box::new(Outside))
}

/// An outside world that costs next to nothing, so that what is measured is the call.
struct Outside;

impl Services for Outside {
    fn realtime_nanos(&mut self) -> u64 {
        black_box(1_700_000_000_000_000_000)
    }

    fn monotonic_nanos(&mut self) -> u64 {
        black_box(1_000_000_000)
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.fill(black_box(0x5a));
        Ok(())
    }

    fn log(&mut self, record: LogRecord<'_>) {
        black_box(record.message.len());
    }

    fn log_level(&mut self, _plugin: &Identity) -> LogLevel {
        LogLevel::Info
    }

    fn property(&mut self, _exchange: Option<&Exchange>, path: &[&[u8]]) -> Property {
        match path.first() {
            Some(&b"request") => Property::Value(Bytes::from_static(b"/a/path?of=request")),
            _ => Property::NotFound,
        }
    }
}
