//! A VM on the native engine whose guest runs closures, with two plugin contexts, two requests and a TCP stream, and the
//! stores that plugins share.

use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use chassis_abi::{
    Answer, Board, CALLBACKS, Callback, CalloutAnswer, CalloutRules, Context, ContextId, Dialect, EXPORTS, EntryError,
    Exchange, HeaderList, Identity, Key, Lane, LogLevel, LogRecord, NoRandomness, Property, ProxyWasm, Quotas, Row,
    Services, SharedServices, TABLE, VmState, begin, enter,
};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::native::{Guest, Host, NativeEngine};
use chassis_engine_api::{
    AnyLinked, Budget, CheckedModule, FrontLimits, Instance, Limits, Stop, TrapKind, Ty, clock, erase,
};
use chassis_host::{HostServices, LogLine, LogSink, Stores, escape};

/// The size of the memory at first: two pages.
pub(crate) const END: u32 = 0x2_0000;
/// Where the allocator begins.
pub(crate) const HEAP: u32 = 0x1_0000;
/// How many contexts there are; their numbers begin at 1.
const CONTEXTS: usize = 5;

/// What the guest does in a callback.
pub(crate) type Job = Box<dyn FnOnce(&mut dyn Host) -> Result<(), Stop> + Send>;

/// What the allocator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocator {
    Good,
    /// Grows the memory by a page and answers the begin of it.
    Grows,
    Traps,
    Exits,
    /// Answers this, whatever it was asked.
    Answers(u32),
    /// Calls a function that it may not call.
    Reenters,
}

#[derive(Default)]
struct Script {
    job: Option<Job>,
    allocator: Option<Allocator>,
    next: u32,
}

/// What is to be done next; also the guest, which does it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Script>>);

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Guest for Shared {
    fn call(&self, export: &str, slots: &mut [u64], host: &mut dyn Host) -> Result<(), Stop> {
        if export == Callback::MemoryAllocate.name() || export == Callback::Malloc.name() {
            slots[0] = u64::from(self.allocate(slots[0] as u32, host)?);
            return Ok(());
        }
        match self.with(|script| script.job.take()) {
            Some(job) => job(host),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn allocate(&self, size: u32, host: &mut dyn Host) -> Result<u32, Stop> {
        let (allocator, next) = self.with(|script| (script.allocator.unwrap_or(Allocator::Good), script.next));
        match allocator {
            Allocator::Good => {
                // Round and round: what was given before may be overwritten.
                let next = if next < HEAP || next.saturating_add(size) > END { HEAP } else { next };
                self.with(|script| script.next = next.saturating_add(size));
                Ok(next)
            }
            Allocator::Grows => Ok(host.grow(1).map_or(0, |pages| pages << 16)),
            Allocator::Traps => Err(Stop::trap(TrapKind::Unreachable)),
            Allocator::Exits => Err(Stop::Exit(7)),
            Allocator::Answers(pointer) => Ok(pointer),
            Allocator::Reenters => {
                host.import("env", "proxy_done", &mut [0; 16])?;
                Ok(HEAP)
            }
        }
    }
}

/// A VM between callbacks.
pub(crate) struct World {
    instance: Box<dyn Instance<VmState>>,
    board: Option<Box<Board>>,
    script: Shared,
    exchanges: [Key; 3],
}

impl World {
    pub(crate) fn new(dialect: Dialect) -> Self {
        let script = Shared::default();
        let mut board = Some(Board::new(Box::new(Outside::new())));
        let linked = linked();
        // The guest of an instance is the one that was set last on this thread.
        NEXT.with_borrow_mut(|next| *next = script.clone());
        let mut instance = begin(&*linked, identity(dialect), &mut board, &Limits::default(), Budget::UNLIMITED)
            .expect("the module has no start section");
        let exchanges = &mut board.as_mut().expect("it is back").exchanges;
        let keys = [exchanges.insert(request()), exchanges.insert(request()), exchanges.insert(connection())];
        let state = instance.state();
        state.configurations = ["configuration", ""].map(|data| Bytes::from(data).into()).into();
        state.foreign_arguments = Bytes::from_static(b"arguments");
        let upstreams = Arc::new(["side".to_owned()].into());
        state.callouts.rules = CalloutRules { upstreams, per_stream: 4, per_vm: 6, bytes: 4096 };
        let root = state.contexts.create(Context::Plugin { configuration: 0, pending_done: true });
        let other = state.contexts.create(Context::Plugin { configuration: 1, pending_done: false });
        for (parent, exchange) in [(root, keys[0]), (other, keys[1]), (root, keys[2])] {
            state.contexts.create(Context::Stream { parent, exchange, lane: 0 });
        }
        World { instance, board, script, exchanges: keys }
    }

    /// Runs a job in a callback of a context; whether the guest returned.
    pub(crate) fn run(&mut self, callback: Callback, context: ContextId, allocator: Allocator, job: Job) -> bool {
        self.script.with(|script| (script.job, script.allocator) = (Some(job), Some(allocator)));
        self.instance.state().answer = of_callout(callback).then(|| Box::new(answer()));
        let returned = enter(
            &mut *self.instance,
            &clock::enter(),
            &mut self.board,
            callback,
            context,
            &[1; 5],
            &Budget::UNLIMITED,
        );
        self.instance.state().answer = None;
        match returned {
            Ok(called) => assert!(called.is_some(), "{} is exported", callback.name()),
            Err(error) => {
                assert!(matches!(*error, EntryError::Stopped { .. }), "{error}");
                assert!(self.board().effects.is_empty(), "{:?}", self.board().effects);
            }
        }
        self.judge();
        let is_empty = self.board().effects.is_empty();
        self.carry_out();
        !is_empty
    }

    fn board(&mut self) -> &mut Board {
        self.board.as_mut().expect("the board is back whatever the guest did")
    }

    /// What must hold whatever a guest did.
    fn judge(&mut self) {
        assert!(self.instance.state().board.is_none());
        assert_eq!(self.instance.state().contexts.len(), CONTEXTS);
        assert!(self.instance.state().callouts.len() <= 6);
        for key in self.exchanges {
            let exchange = self.board().exchanges.get(key).expect("no guest ends a stream by itself");
            for half in [&exchange.request, &exchange.response] {
                for list in [&half.headers, &half.trailers] {
                    judge_list(list);
                }
            }
            let pseudo = |list: &HeaderList| list.iter().filter(|(name, _)| name.starts_with(b":")).count();
            let expected = if exchange.request.has_headers { (4, 1) } else { (0, 0) };
            assert_eq!((pseudo(&exchange.request.headers), pseudo(&exchange.response.headers)), expected);
            let lane = &exchange.lanes[0];
            assert!(lane.request.body.len() <= BODY_LIMIT && lane.response.body.len() <= BODY_LIMIT);
            assert!(exchange.properties.len() <= 1000);
        }
    }

    /// What a host would do with the effects, as far as the guest sees it.
    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.board().effects) {
            if let chassis_abi::Effect::GrpcCancel { id } = effect {
                assert!(self.instance.state().callouts.end(id).is_some());
            }
        }
    }
}

fn judge_list(list: &HeaderList) {
    assert!(list.len() <= chassis_abi::MAX_PAIRS && list.byte_size() <= chassis_abi::MAX_MAP_BYTES);
    for (name, value) in list.iter() {
        let token = name.strip_prefix(b":").unwrap_or(name);
        let is_part = |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && *byte != b':';
        assert!(!token.is_empty() && token.iter().all(is_part), "{name:?}");
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)), "{name:?}: {value:?}");
    }
}

const BODY_LIMIT: usize = 1 << 16;

fn identity(dialect: Dialect) -> Identity {
    Identity {
        name: "fuzzed".into(),
        root_id: "root".into(),
        vm_id: "vm".into(),
        vm_configuration: Bytes::from_static(b"vm configuration"),
        environment: vec![("A".into(), "1".into())],
        quotas: Quotas { shared_data: 4096, queues: 4096, metrics: 4 },
        dialect,
    }
}

/// A request whose body and trailers, and whose whole response, have come and not left yet.
fn request() -> Exchange {
    let headers = [(":method", "GET"), (":path", "/"), (":authority", "a"), (":scheme", "http"), ("x-a", "1")];
    let mut exchange = Exchange::new(headers.into_iter().collect());
    exchange.body_limit = BODY_LIMIT;
    exchange.request.trailers = [("t-a", "1")].into_iter().collect();
    exchange.request.has_trailers = true;
    exchange.response.headers = [(":status", "200"), ("r-a", "1")].into_iter().collect();
    exchange.response.has_headers = true;
    exchange.response.trailers = [("rt-a", "1")].into_iter().collect();
    exchange.response.has_trailers = true;
    exchange.lanes.push(lane());
    exchange
}

fn connection() -> Exchange {
    let mut exchange = Exchange::tcp();
    exchange.body_limit = BODY_LIMIT;
    exchange.lanes.push(lane());
    exchange
}

fn lane() -> Lane {
    let mut lane = Lane::default();
    lane.request.body.push(Bytes::from_static(b"hello "));
    lane.request.body.push(Bytes::from_static(b"world"));
    lane.request.body_open = true;
    lane.response.body.push(Bytes::from_static(b"answer"));
    lane.response.body_open = true;
    lane
}

fn of_callout(callback: Callback) -> bool {
    use Callback::{GrpcClose, GrpcReceive, GrpcReceiveInitialMetadata, GrpcReceiveTrailingMetadata, HttpCallResponse};
    let all = [HttpCallResponse, GrpcReceiveInitialMetadata, GrpcReceive, GrpcReceiveTrailingMetadata, GrpcClose];
    all.contains(&callback)
}

fn answer() -> CalloutAnswer {
    CalloutAnswer {
        headers: [(":status", "200"), ("x-a", "1")].into_iter().collect(),
        body: Bytes::from_static(b"body"),
        trailers: [("t-a", "1")].into_iter().collect(),
        code: 2,
        message: Bytes::from_static(b"timeout"),
    }
}

/// Whether the module imports this function: of those that exist with and without a result it has the first.
pub(crate) fn is_imported(row: &Row) -> bool {
    row.answer != Answer::None || matches!(row.name, "proc_exit" | "emscripten_notify_memory_growth")
}

thread_local! {
    static NEXT: std::cell::RefCell<Shared> = std::cell::RefCell::default();
}

fn linked() -> Arc<dyn AnyLinked<VmState>> {
    static LINKED: OnceLock<Arc<dyn AnyLinked<VmState>>> = OnceLock::new();
    let link = || {
        let engine = NativeEngine::new().with_guest("fuzzed", || NEXT.with_borrow(Clone::clone));
        let module = wat::parse_str(module()).expect("the text is a module");
        let module = CheckedModule::new(module, &FrontLimits::default()).expect("the module is valid");
        let engine = erase::<_, ProxyWasm, VmState>(engine, EXPORTS);
        engine.load(&module, &CompilePolicy::InProcess).expect("everything is there that it imports")
    };
    LINKED.get_or_init(link).clone()
}

/// A module that imports everything and exports every callback.
fn module() -> String {
    let type_of = |ty: &Ty| if *ty == Ty::I64 { " i64" } else { " i32" };
    let params = |types: &[Ty]| types.iter().map(type_of).collect::<String>();
    let result = |ty: Option<Ty>| ty.map_or(String::new(), |ty| format!("(result{})", type_of(&ty)));
    let mut wat = String::from("(module");
    // Writing to a string cannot fail.
    for row in TABLE.iter().filter(|row| is_imported(row)) {
        let (module, name, sig) = (row.modules[0], row.name, &row.sig);
        let _ =
            write!(wat, "(import \"{module}\" \"{name}\" (func (param{}) {}))", params(sig.params), result(sig.result));
    }
    wat.push_str("(memory (export \"memory\") 2 8) (func (export \"proxy_abi_version_0_2_1\"))");
    for callback in CALLBACKS {
        let (name, sig) = (callback.name(), &callback.sigs()[0]);
        let _ =
            write!(wat, "(func (export \"{name}\") (param{}) {} unreachable)", params(sig.params), result(sig.result));
    }
    wat.push_str("(@custom \"chassis.native\" \"fuzzed\"))");
    wat
}

/// The host's own services, with times and random numbers that are the same each time.
struct Outside(HostServices);

struct Silent;

impl LogSink for Silent {
    fn log(&self, _line: &LogLine<'_>) {}
}

impl Outside {
    fn new() -> Self {
        Outside(HostServices::new(Arc::new(Silent), LogLevel::Info).with_stores(Stores::new()))
    }
}

impl Services for Outside {
    fn realtime_nanos(&mut self) -> u64 {
        0x0102_0304_0506_0708
    }

    fn monotonic_nanos(&mut self) -> u64 {
        42
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.fill(0xaa);
        Ok(())
    }

    fn log(&mut self, record: LogRecord<'_>) {
        assert!(!escape(record.message).chars().any(|c| c.is_control() && c != '\t'));
    }

    fn log_level(&mut self, _plugin: &Identity) -> LogLevel {
        LogLevel::Info
    }

    fn property(&mut self, exchange: Option<&Exchange>, path: &[&[u8]]) -> Property {
        self.0.property(exchange, path)
    }

    fn shared(&mut self) -> Option<&mut dyn SharedServices> {
        self.0.shared()
    }
}
