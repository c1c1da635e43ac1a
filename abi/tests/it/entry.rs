//! What entering a guest leaves behind: the board, always, and the effects of calls that returned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chassis_abi::{Board, Callback, Effect, EntryError, VmState, begin};
use chassis_engine_api::{AnyLinked, Budget, Capabilities, CheckedModule, Failed, HostError, Instance, Limits, Stop};

use crate::rig::{Rig, Shared, V010, V021, identity, linked, module};

#[test]
fn a_stopped_call_leaves_no_effects_but_its_log_lines() {
    let mut rig = Rig::new();
    rig.request(|wasm| wasm.env("proxy_continue_stream", &[0]).unwrap());
    let before = rig.board().effects.clone();
    assert_eq!(before.len(), 1);
    let stopped = rig.run(Callback::RequestHeaders, 3, |wasm| {
        wasm.env("proxy_log", &[4, 0, 0])?;
        wasm.env("proxy_close_stream", &[0])?;
        wasm.env("proxy_send_local_response", &[200, 0, 0, 0, 0, 0, 0, 0])?;
        wasm.env("proxy_set_tick_period_milliseconds", &[1])?;
        wasm.wasi("proc_exit", &[3])
    });
    assert!(matches!(stopped, Err(Stop::Exit(3))));
    assert_eq!(rig.board().effects, before);
    assert_eq!(rig.take_logs().len(), 1);
    // What the stopped call asked for does not count as asked for.
    rig.request(|wasm| wasm.env("proxy_send_local_response", &[200, 0, 0, 0, 0, 0, 0, 0]).unwrap());
    assert!(matches!(rig.board().effects[1], Effect::LocalResponse { .. }));
    assert_eq!(rig.take_logs(), []);
}

#[test]
fn a_panic_in_a_host_function_leaves_the_board_and_no_effects() {
    let mut rig = Rig::new();
    *rig.shared.panics.lock().unwrap() = true;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        rig.request(|wasm| {
            wasm.env("proxy_close_stream", &[0]).unwrap();
            wasm.env("proxy_get_current_time_nanoseconds", &[0]).unwrap()
        })
    }));
    assert!(panicked.is_err());
    assert!(rig.board.is_some() && rig.instance.state().board.is_none());
    assert!(rig.board().effects.is_empty());
    *rig.shared.panics.lock().unwrap() = false;
    assert_eq!(rig.request(|wasm| wasm.env("proxy_get_current_time_nanoseconds", &[0]).unwrap()), 0);
}

#[test]
fn only_what_is_exported_is_called_with_as_many_parameters_as_it_has() {
    let old = module(V010, false)
        .replace(
            "(func (export \"proxy_on_request_headers\") (param i32 i32 i32)",
            "(func (export \"proxy_on_request_headers\") (param i32 i32)",
        )
        .replace("(func (export \"proxy_on_log\") (param i32)  unreachable)", "");
    assert!(!old.contains("proxy_on_log"));
    let mut rig = Rig::of(&old);
    let args = |rig: &mut Rig, callback| rig.run(callback, 3, |wasm| Ok(wasm.args.to_vec())).unwrap();
    assert_eq!(args(&mut rig, Callback::RequestHeaders), [3, 0]);
    assert_eq!(args(&mut rig, Callback::ResponseHeaders), [3, 0, 0]);
    assert_eq!(args(&mut rig, Callback::Done), [3]);
    assert!(matches!(rig.enter(Callback::Log, 3, &[]), Ok(None)));
    assert!(rig.board.is_some());
    // Start functions have no context.
    let main = rig.run(Callback::Main, 9, |wasm| Ok(wasm.args.to_vec())).unwrap();
    assert_eq!(main, [0, 0]);
    let mut rig = Rig::new();
    assert_eq!(rig.enter(Callback::Done, 3, &[]).unwrap(), Some(3), "the slot of the result was not written");
}

#[test]
fn a_guest_cannot_be_entered_while_the_board_is_lent() {
    let mut rig = Rig::new();
    let board = rig.board.take();
    assert!(matches!(rig.enter(Callback::Tick, 1, &[]), Err(EntryError::Reentered)));
    let shared = Arc::new(Shared::default());
    let linked = linked(&module(V021, false), &shared);
    let stop = begin(&*linked, identity(), &mut rig.board, &Limits::default(), Budget::UNLIMITED).err().unwrap();
    assert!(matches!(stop, Stop::Host(_)));
    assert!(rig.board.is_none());
    rig.board = board;
    assert!(rig.enter(Callback::Tick, 1, &[]).is_ok());
}

#[test]
fn an_instance_that_does_not_fit_its_limits_gives_the_board_back() {
    let mut rig = Rig::new();
    let linked = linked(&module(V021, false), &rig.shared);
    let limits = Limits { memory_bytes: 1, ..Limits::default() };
    assert!(begin(&*linked, identity(), &mut rig.board, &limits, Budget::UNLIMITED).is_err());
    assert!(rig.board.is_some());
}

/// An engine that drops the state while it panics, as one does when a start section's host call panics.
struct Panics(Arc<dyn AnyLinked<VmState>>);

impl AnyLinked<VmState> for Panics {
    fn capabilities(&self) -> &'static Capabilities {
        self.0.capabilities()
    }

    fn module(&self) -> &CheckedModule {
        self.0.module()
    }

    fn instantiate(
        &self,
        state: VmState,
        _: &Limits,
        _: Budget,
    ) -> Result<Box<dyn Instance<VmState>>, Failed<VmState>> {
        let _state: Box<VmState> = Box::new(state);
        std::panic::resume_unwind(Box::new(HostError::new("told to")))
    }
}

#[test]
fn a_panic_in_the_start_section_gives_the_board_back() {
    let mut rig = Rig::new();
    let exchange = rig.exchange;
    let linked = Panics(linked(&module(V021, false), &rig.shared));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        begin(&linked, identity(), &mut rig.board, &Limits::default(), Budget::UNLIMITED)
    }));
    assert!(panicked.is_err());
    let board: &Board = rig.board.as_ref().unwrap();
    assert!(board.exchanges.get(exchange).is_some(), "the same board, with its streams");
}
