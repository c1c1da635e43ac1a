//! A VM for each combination: what there is before the call, and what is there afterwards.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Board, Callback, CalloutRules, Context, EntryError, Exchange, Key, VmState, begin, enter};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{AnyLinked, Budget, CheckedModule, FrontLimits, Instance, Limits, Profile, Stop, clock};
use chassis_host::Stores;

use crate::combinations::{Combination, usual};
use crate::guest::{self, Allocator, Call, UNANSWERED};
use crate::memory::{Atlas, BEHAVIOUR, END, ZEROS};
use crate::scenes::{DEAD, OTHER_ROOT, OTHER_STREAM, ROOT, STREAM, Scene};
use crate::services::{Lines, Outside, identity};

/// A guest that loops is stopped soon; any other one is not, however slow the engine and however busy the machine.
const SOON: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_secs(60);

/// An engine that has loaded the guest.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    linked: Arc<dyn AnyLinked<VmState>>,
    before: Vec<Call>,
    image: Vec<u8>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this.
    Answered(u32),
    /// With the guest.
    Stopped(String),
}

/// Everything that can be seen of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ended: Ended,
    /// What was written into the guest's memory: blocks by their address.
    pub(crate) written: Vec<(usize, Vec<u8>)>,
    /// Maps, bodies, effects, contexts, callouts, stores and log.
    pub(crate) after: String,
}

impl Stage {
    pub(crate) fn new(name: &'static str, atlas: &Atlas) -> Self {
        let wat = guest::module(atlas);
        let module = CheckedModule::new(wat::parse_str(&wat).unwrap(), &FrontLimits::default()).unwrap();
        let engine = chassis_engines::open(name, Profile::Deadline).unwrap();
        let linked = engine.load(&module, &CompilePolicy::InProcess).unwrap();
        let mut stage = Stage { name, linked, before: usual(atlas), image: Vec::new() };
        stage.image = Vm::new(&stage, Scene { callback: Callback::Tick, context: ROOT }).instance.memory().0.to_vec();
        stage
    }

    /// Makes the call of a combination, in a VM of its own.
    pub(crate) fn play(&self, combination: &Combination) -> Seen {
        let mut vm = Vm::new(self, combination.scene);
        // What there is to be found; each callback has its own part of the effects.
        let before: Vec<Call> = self.before.iter().chain(&combination.before).cloned().collect();
        let (ended, answers) = vm.make(Callback::Tick, ROOT, &before, Allocator::Good);
        assert_eq!(ended, None, "{combination}: {answers:?}");
        assert!(answers.iter().all(|answer| *answer == 0), "{combination}: {answers:?}");
        vm.board().effects.clear();
        vm.instance.state().answer = combination.scene.answer();

        let untouched = vm.look();
        let memory = vm.instance.memory().0.to_vec();
        let (Scene { callback, context }, calls) = (combination.scene, combination.calls());
        let (stopped, answers) = vm.make(callback, context, &calls, combination.allocator);
        let last = answers[answers.len() - 1];
        let ended = match stopped {
            Some(stop) => Ended::Stopped(stop),
            None => Ended::Answered(last),
        };
        let (after, written) = (vm.look(), vm.written(&memory));
        // Bad memory is told before there is any effect; what was about to be handed over is where it was.
        if ended == Ended::Answered(6) {
            assert_eq!(after, untouched, "{combination}");
            assert!(written.is_empty(), "{combination} wrote {written:x?}");
        }
        Seen { ended, written, after }
    }
}

struct Vm {
    instance: Box<dyn Instance<VmState>>,
    board: Option<Box<Board>>,
    exchanges: [Key; 3],
    stores: Arc<Stores>,
    lines: Lines,
}

impl Vm {
    fn new(stage: &Stage, scene: Scene) -> Self {
        let (stores, lines) = (Stores::new(), Lines::default());
        let mut board = Some(Board::new(Box::new(Outside::new(&stores, &lines))));
        let limits = Limits { memory_bytes: 512 << 10, ..Limits::default() };
        let mut instance = begin(&*stage.linked, identity(), &mut board, &limits, Budget::deadline(LATE)).unwrap();
        let exchanges = &mut board.as_mut().unwrap().exchanges;
        let streams = [exchanges.insert(scene.request()), exchanges.insert(scene.request())];
        let connection = exchanges.insert(scene.connection());
        let state = instance.state();
        state.configurations = ["configuration", "second"].map(|data| Bytes::from(data).into()).into();
        state.foreign_arguments = Bytes::from_static(b"arguments");
        let upstreams = Arc::new(["side".to_owned()].into());
        state.callouts.rules = CalloutRules { upstreams, per_stream: 4, per_vm: 8, bytes: 2000 };
        for (configuration, pending_done) in [(0, true), (1, false)] {
            state.contexts.create(Context::Plugin { configuration, pending_done });
        }
        let keys = [streams[0], streams[1], connection];
        let streams = [(ROOT, streams[0], STREAM), (OTHER_ROOT, streams[1], OTHER_STREAM), (ROOT, connection, 5)];
        for (parent, exchange, id) in streams {
            assert_eq!(state.contexts.create(Context::Stream { parent, exchange, lane: 0 }), id);
        }
        let ended = state.contexts.create(Context::Stream { parent: ROOT, exchange: connection, lane: 0 });
        assert_eq!(ended, DEAD);
        state.contexts.remove(ended);
        Vm { instance, board, exchanges: keys, stores, lines }
    }

    fn board(&mut self) -> &mut Board {
        self.board.as_mut().unwrap()
    }

    /// Makes calls in a callback: why the guest was stopped, if it was, and what each call has answered.
    fn make(
        &mut self,
        callback: Callback,
        context: u32,
        calls: &[Call],
        allocator: Allocator,
    ) -> (Option<String>, Vec<u32>) {
        guest::write(self.instance.memory().0, calls, allocator);
        let budget = Budget::deadline(if allocator == Allocator::Loops { SOON } else { LATE });
        let entered = enter(&mut *self.instance, &clock::enter(), &mut self.board, callback, context, &[0; 4], &budget);
        let stopped = match entered {
            Ok(called) => {
                assert!(called.is_some(), "{callback:?}");
                None
            }
            Err(error) => match *error {
                EntryError::Stopped { stop, .. } => Some(name(&stop)),
                error => panic!("{error}"),
            },
        };
        assert!(self.instance.state().board.is_none() && self.board.is_some());
        let memory = self.instance.memory().0;
        let answers: Vec<u32> = (0..calls.len()).map(|i| guest::answer(memory, i)).collect();
        assert!(stopped.is_some() || !answers.contains(&UNANSWERED));
        (stopped, answers)
    }

    /// Everything that a call can change, but for the memory.
    fn look(&mut self) -> String {
        let board = self.board.as_ref().unwrap();
        let state = self.instance.state();
        let mut text = format!("{:?}", board.effects);
        for key in self.exchanges {
            let stream = board.exchanges.get(key).unwrap();
            let Exchange { kind, request, response, lanes, answered, response_started, .. } = stream;
            // Properties are in no order.
            let properties = stream.properties.len();
            write!(text, " {kind:?} {request:?} {response:?} {lanes:?} {answered} {response_started} {properties}")
                .unwrap();
        }
        for id in 1..=DEAD {
            write!(text, " {:?}", state.contexts.get(id)).unwrap();
        }
        for id in state.callouts.ids() {
            write!(text, " {id} {:?}", state.callouts.get(id)).unwrap();
        }
        for key in [&b"k1"[..], b"k2", b"new"] {
            write!(text, " {:?}", self.stores.shared_data("vm", key)).unwrap();
        }
        write!(text, " {} {:?}", self.stores.prometheus(), self.lines.lock().unwrap()).unwrap();
        text
    }

    /// What of the memory is not as it was, below where the calls stand.
    fn written(&mut self, before: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let memory = self.instance.memory().0;
        let mut written = Vec::new();
        let below = BEHAVIOUR as usize;
        for at in (0..memory.len()).step_by(BLOCK) {
            let block = &memory[at..at + BLOCK];
            let same =
                before.get(at..at + BLOCK) == Some(block) || (at >= END as usize && block.iter().all(|b| *b == 0));
            if !same && !(below..END as usize - BLOCK).contains(&at) {
                written.push((at, block.to_vec()));
            }
        }
        assert!(ZEROS.0 as usize + ZEROS.1 as usize <= below);
        written
    }
}

const BLOCK: usize = 16;

/// A stop in words that are the same on every engine.
fn name(stop: &Stop) -> String {
    match stop {
        Stop::Trap(trap) => format!("trap: {}", trap.kind),
        Stop::Deadline => "deadline".to_owned(),
        Stop::Fuel => "fuel".to_owned(),
        stop => stop.to_string(),
    }
}
