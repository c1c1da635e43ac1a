//! The pause/resume machine, cell by cell: which callback pauses, what resumes, in which direction, and how much of the
//! body is there. And what can end a pause besides: an answer, from each phase, and the limit of the pause.
//!
//! One test per cell, on each engine. A cell that there cannot be is listed with its reason. See
//! docs/guide/streams.md.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{CalloutRules, Direction, HeaderList};
use chassis_host::{CalloutWork, HttpAnswer, PluginId, StreamKey};
use libtest_mimic::Trial;

use crate::guest::callbacks;
use crate::rig::{Rig, spec};

/// The callback that pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Headers,
    Body,
    Trailers,
}

/// What resumes, or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    SameCallback,
    Tick,
    Queue,
    Callout,
    AnotherStream,
}

/// How much of the body has come when it is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coming {
    Pending,
    Ended,
    None,
}

const PHASES: [Phase; 3] = [Phase::Headers, Phase::Body, Phase::Trailers];
const DIRECTIONS: [Direction; 2] = [Direction::Request, Direction::Response];
const SOURCES: [Source; 5] =
    [Source::SameCallback, Source::Tick, Source::Queue, Source::Callout, Source::AnotherStream];
const COMINGS: [Coming; 3] = [Coming::Pending, Coming::Ended, Coming::None];

/// How many cells there are, and how many of them cannot be.
const CELLS: usize = 162;
const IMPOSSIBLE: usize = 32;

pub(crate) fn trials() -> Vec<Trial> {
    let mut cells = Vec::new();
    for direction in DIRECTIONS {
        for phase in PHASES {
            for source in SOURCES {
                cells.extend(COMINGS.map(|coming| resuming(phase, direction, source, coming)));
                cells.extend([false, true].map(|left| answering(phase, direction, source, left)));
            }
            cells.extend([false, true].map(|left| limiting(phase, direction, left)));
        }
    }
    let impossible = cells.iter().filter(|cell| cell.run.is_err()).count();
    let counts = (cells.len(), impossible);
    let engines = chassis_engines::compiled_in();
    let mut trials: Vec<Trial> = cells.into_iter().flat_map(|cell| cell.trials(&engines)).collect();
    trials.push(Trial::test("matrix/every_cell_is_here", move || {
        writeln!(io::stdout(), "pause/resume matrix: {} cells, {} of them impossible", counts.0, counts.1)?;
        assert_eq!(counts, (CELLS, IMPOSSIBLE));
        Ok(())
    }));
    trials
}

struct Cell {
    name: String,
    /// What is tested, or why there is no such cell.
    run: Result<Run, &'static str>,
}

type Run = Arc<dyn Fn(&'static str) + Send + Sync>;

impl Cell {
    fn new(name: String, run: Result<Run, &'static str>) -> Self {
        Cell { name: format!("matrix/{}", name.to_lowercase()), run }
    }

    fn trials(self, engines: &[&'static str]) -> Vec<Trial> {
        match self.run {
            Err(reason) => {
                vec![
                    Trial::test(self.name, || Ok(()))
                        .with_kind(format!("impossible: {reason}"))
                        .with_ignored_flag(true),
                ]
            }
            Ok(run) => {
                let trial = |engine: &&'static str| {
                    let (run, engine) = (Arc::clone(&run), *engine);
                    Trial::test(format!("{}::{engine}", self.name), move || {
                        run(engine);
                        Ok(())
                    })
                };
                engines.iter().map(trial).collect()
            }
        }
    }
}

const NO_BODY: &str = "a message without a body has no body callback";
const ENDS_BEFORE: &str = "trailers come when the body has ended";
const NOT_LEFT: &str = "headers that are held have not left";
const NOT_ASKED: &str = "an upstream whose request's headers are held is not asked, so it has not answered";

fn resuming(phase: Phase, direction: Direction, source: Source, coming: Coming) -> Cell {
    let name = format!("resume/{direction:?}_{phase:?}/body_{coming:?}/{source:?}");
    let run: Result<Run, _> = match (phase, coming) {
        (Phase::Body, Coming::None) => Err(NO_BODY),
        (Phase::Trailers, Coming::Pending) => Err(ENDS_BEFORE),
        _ => Ok(Arc::new(move |engine| resumes_once(engine, Setting { phase, direction, source, coming }))),
    };
    Cell::new(name, run)
}

fn answering(phase: Phase, direction: Direction, source: Source, left: bool) -> Cell {
    let head = if left { "head_left" } else { "head_here" };
    let run: Result<Run, _> = match impossible(phase, direction, left) {
        Some(reason) => Err(reason),
        None => Ok(Arc::new(move |engine| {
            let setting = Setting { phase, direction, source, coming: Coming::Ended };
            answers_or_is_refused(engine, setting, left);
        })),
    };
    Cell::new(format!("answer/{direction:?}_{phase:?}/{head}/{source:?}"), run)
}

fn limiting(phase: Phase, direction: Direction, left: bool) -> Cell {
    let head = if left { "head_left" } else { "head_here" };
    let run: Result<Run, _> = match impossible(phase, direction, left) {
        Some(reason) => Err(reason),
        None => Ok(Arc::new(move |engine| {
            let setting = Setting { phase, direction, source: Source::Tick, coming: Coming::Ended };
            a_pause_has_an_end(engine, setting, left);
        })),
    };
    Cell::new(format!("limit/{direction:?}_{phase:?}/{head}"), run)
}

fn impossible(phase: Phase, direction: Direction, left: bool) -> Option<&'static str> {
    match (phase, direction) {
        (Phase::Headers, Direction::Request) if left => Some(NOT_ASKED),
        (Phase::Headers, Direction::Response) if left => Some(NOT_LEFT),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    phase: Phase,
    direction: Direction,
    source: Source,
    coming: Coming,
}

impl Setting {
    fn name(self, phase: Phase) -> String {
        let direction = if self.direction == Direction::Request { "request" } else { "response" };
        format!("proxy_on_{direction}_{}", format!("{phase:?}").to_lowercase())
    }

    /// The plugin that pauses. Stream context 2 is the stream of the test; any later one is there to have something done.
    fn pausing(self, act: &str) -> String {
        let mut guest = format!(
            r#"(global $acted (mut i32) (i32.const 0))
               (data (i32.const 0x40) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\04\00\00\00"
                 ":method\00GET\00:path\00/\00:authority\00side\00")
               (func $act (global.set $acted (i32.const 1)) (drop (call $set_effective (i32.const 2))) {act})
               (func (export "proxy_on_configure") (param i32 i32) (result i32)
                 {}
                 (drop (call $register @"q" (i32.const 0xc0))) (i32.const 1))
               (func (export "proxy_on_tick") (param i32) (call $act))
               (func (export "proxy_on_queue_ready") (param i32 i32) (call $act))
               (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) (call $act))"#,
            if self.source == Source::Tick { "(drop (call $set_tick (i32.const 100)))" } else { "" },
        );
        let begins = match self.source {
            // Of a body in pieces the last one.
            Source::SameCallback if self.phase == Phase::Body && self.coming == Coming::Ended => {
                "(if (local.get 2) (then (call $act)))"
            }
            Source::SameCallback => "(call $act)",
            Source::Callout => {
                r#"(if (i32.eqz (i32.load (i32.const 0xc4)))
                     (then (i32.store (i32.const 0xc4) (i32.const 1))
                       (drop (call $http_call @"side" (i32.const 0x40) (i32.const 64) (i32.const 0) (i32.const 0)
                         (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)))))"#
            }
            _ => "",
        };
        // What came before it acted is held, and nothing after.
        let holds = "(i32.eqz (global.get $acted))";
        let pauses = format!("{begins} {}", if self.source == Source::SameCallback { "(i32.const 1)" } else { holds });
        let other = match self.source {
            Source::AnotherStream => "(call $act)",
            Source::Queue => r#"(drop (call $enqueue (i32.load (i32.const 0xc0)) @"item"))"#,
            _ => "",
        };
        let is_pausing = |phase| phase == self.phase;
        let of_request =
            if self.direction == Direction::Request && is_pausing(Phase::Headers) { &pauses } else { "(i32.const 0)" };
        guest += &callbacks(
            &["proxy_on_request_headers"],
            &format!("(if (i32.ne (local.get 0) (i32.const 2)) (then {other} (return (i32.const 0)))) {of_request}"),
        );
        if self.direction == Direction::Response && is_pausing(Phase::Headers) {
            guest += &callbacks(&[&self.name(Phase::Headers)], &pauses);
        }
        if is_pausing(Phase::Body) {
            let once = if self.source == Source::SameCallback {
                // The piece behind the one that it acted for passes.
                format!("(if (global.get $acted) (then (return (i32.const 0)))) {pauses}")
            } else {
                pauses.clone()
            };
            guest += &callbacks(&[&self.name(Phase::Body)], &once);
        } else if is_pausing(Phase::Headers) {
            // It holds the body, too, until it has acted.
            guest += &callbacks(&[&self.name(Phase::Body)], holds);
        }
        if is_pausing(Phase::Trailers) {
            guest += &callbacks(&[&self.name(Phase::Trailers)], &pauses);
        }
        guest
    }

    /// The plugin behind it, which says what it is shown: headers, sizes of pieces, the end of the body, trailers.
    fn watching(self) -> String {
        callbacks(&[&self.name(Phase::Headers)], "(call $say @\"H\") (i32.const 0)")
            + &callbacks(
                &[&self.name(Phase::Body)],
                "(call $say_digit @\"b\" (local.get 1)) (if (local.get 2) (then (call $say @\"E\"))) (i32.const 0)",
            )
            + &callbacks(&[&self.name(Phase::Trailers)], "(call $say @\"T\") (i32.const 0)")
    }

    fn has_body(self) -> bool {
        self.coming != Coming::None
    }

    fn has_trailers(self) -> bool {
        self.phase == Phase::Trailers
    }
}

/// A stream in a setting.
struct Scene {
    rig: Rig,
    setting: Setting,
    pausing: PluginId,
    key: StreamKey,
    /// Callouts that are not answered yet.
    calls: Vec<chassis_host::CalloutKey>,
}

impl Scene {
    fn new(engine: &'static str, setting: Setting, act: &str) -> Self {
        let mut rig = Rig::new(engine);
        let mut specification = spec("pausing");
        let upstreams = Arc::new(["side".to_owned()].into());
        specification.limits.callouts = CalloutRules { upstreams, ..CalloutRules::default() };
        let pausing = rig.add_with(&specification, &setting.pausing(act), &[""]).unwrap();
        let watching = rig.add("watching", &setting.watching());
        // The response passes the chain from its end.
        let chain = match setting.direction {
            Direction::Request => [pausing, watching],
            Direction::Response => [watching, pausing],
        };
        let key = rig.open(&chain, &[]);
        Scene { rig, setting, pausing, key, calls: Vec::new() }
    }

    /// Lets in the request as far as it is not what is looked at, and the headers.
    fn begin(&mut self) {
        let no_more = !self.setting.has_body() && !self.setting.has_trailers();
        match self.setting.direction {
            Direction::Request => self.rig.worker.request_headers(self.key, no_more),
            Direction::Response => {
                self.rig.worker.request_headers(self.key, true);
                let headers = [(":status", "200")].into_iter().collect();
                self.rig.worker.response_headers(self.key, headers, no_more);
            }
        }
    }

    fn piece(&mut self, text: &'static str, end: bool) {
        let data = Bytes::from_static(text.as_bytes());
        match self.setting.direction {
            Direction::Request => self.rig.worker.request_body(self.key, data, end),
            Direction::Response => self.rig.worker.response_body(self.key, data, end),
        }
    }

    fn trailers(&mut self) {
        let trailers: HeaderList = [("t", "1")].into_iter().collect();
        match self.setting.direction {
            Direction::Request => self.rig.worker.request_trailers(self.key, trailers),
            Direction::Response => self.rig.worker.response_trailers(self.key, trailers),
        }
    }

    fn first_piece(&mut self) {
        if self.setting.has_body() {
            self.piece("abc", false);
        }
    }

    fn rest(&mut self) {
        if self.setting.has_body() {
            self.piece("de", !self.setting.has_trailers());
        }
        if self.setting.has_trailers() {
            self.trailers();
        }
    }

    /// Has the source act. `false` if it cannot (again).
    fn act(&mut self) -> bool {
        while let Some(work) = self.rig.worker.take_callout() {
            if let CalloutWork::Http { key, .. } = work {
                self.calls.push(key);
            }
        }
        match self.setting.source {
            Source::SameCallback => return false,
            Source::Tick => self.rig.tick(),
            Source::Callout => {
                let Some(call) = self.calls.pop() else { return false };
                let headers = [(":status", "200")].into_iter().collect();
                assert!(self.rig.worker.http_call_answered(call, Ok(HttpAnswer { headers, ..HttpAnswer::default() })));
            }
            Source::Queue | Source::AnotherStream => {
                let other = self.rig.get(&[self.pausing], &[]);
                while self.rig.worker.has_work() {
                    self.rig.worker.receive_prepared();
                }
                self.rig.worker.close(other);
            }
        }
        true
    }

    fn progress(&mut self) -> chassis_host::DirectionProgress {
        let progress = self.rig.progress(self.key);
        if self.setting.direction == Direction::Request { progress.request } else { progress.response }
    }
}

/// How often this was said.
fn count(said: &[String], what: &str) -> usize {
    said.iter().filter(|said| *said == what).count()
}

fn resumes_once(engine: &'static str, setting: Setting) {
    let map = if setting.direction == Direction::Request { 0 } else { 2 };
    let stream = u32::from(setting.direction == Direction::Response);
    let act = format!(
        r#"(call $say_digit @"h" (call $add_header (i32.const {map}) @"x-late" @"1"))
           (call $say_digit @"c" (call $continue (i32.const {stream})))"#
    );
    let mut scene = Scene::new(engine, setting, &act);
    let takes_head = setting.phase != Phase::Headers;
    let (key, direction) = (scene.key, setting.direction);
    scene.begin();
    if takes_head {
        assert!(scene.progress().headers, "only what the callback is for is held");
        scene.rig.worker.take_headers(key, direction);
    }
    scene.first_piece();
    if setting.coming != Coming::Pending {
        scene.rest();
    }
    let mut said = scene.rig.said();
    if setting.source != Source::SameCallback {
        let progress = scene.progress();
        assert!(progress.paused && !progress.ended, "{progress:?}");
        let body = if setting.phase == Phase::Trailers && setting.has_body() { 5 } else { 0 };
        assert_eq!((progress.headers, progress.body, progress.trailers), (takes_head, body, false));
        assert!(scene.act());
        said.extend(scene.rig.said());
    }
    if setting.coming == Coming::Pending {
        assert!(!scene.progress().paused && !scene.progress().ended, "{:?}", scene.progress());
        scene.rest();
    }
    said.extend(scene.rig.said());
    let progress = scene.progress();
    assert!(!progress.paused && progress.headers && progress.ended, "{progress:?}");
    let passed = scene.rig.passed(key, direction).unwrap();
    let body = if setting.has_body() { "abcde" } else { "" };
    assert_eq!((passed.body.as_str(), passed.trailers.len()), (body, usize::from(setting.has_trailers())));
    // Headers can be changed as long as they are here, while the body is held, too.
    assert_eq!(passed.header("x-late"), (!takes_head).then_some("1"));
    assert_eq!((count(&said, "c0"), count(&said, if takes_head { "h2" } else { "h0" })), (1, 1), "{said:?}");
    // The next plugin has seen all of it, and all of it once.
    let sizes: usize = said.iter().filter_map(|said| said.strip_prefix('b')?.parse::<usize>().ok()).sum();
    let seen = (count(&said, "H"), sizes, count(&said, "E"), count(&said, "T"));
    let ends = usize::from(setting.has_body() && !setting.has_trailers());
    assert_eq!(seen, (1, body.len(), ends, usize::from(setting.has_trailers())), "{said:?}");
    // Another one changes nothing, neither now nor later.
    if scene.act() {
        let said = scene.rig.said();
        assert_eq!((count(&said, "c0"), said.len()), (1, 2), "{said:?}");
        let progress = scene.progress();
        assert!(progress.ended && !progress.paused && progress.body == 0, "{progress:?}");
    }
    scene.rig.worker.close(key);
}

/// Has the response come as far as its headers, and leave, while its request is held.
fn let_head_leave(scene: &mut Scene) {
    let key = scene.key;
    if scene.setting.direction == Direction::Request {
        scene.rig.worker.response_headers(key, [(":status", "200")].into_iter().collect(), false);
    }
    assert!(scene.rig.progress(key).response.headers);
    scene.rig.worker.take_headers(key, Direction::Response);
}

fn answers_or_is_refused(engine: &'static str, setting: Setting, left: bool) {
    let mut scene = Scene::new(engine, setting, "(call $answer (i32.const 418) @\"answer\")");
    let key = scene.key;
    scene.begin();
    if left {
        let_head_leave(&mut scene);
    }
    scene.first_piece();
    scene.rest();
    if setting.source != Source::SameCallback {
        assert!(scene.act());
    }
    let said = scene.rig.said();
    let progress = scene.rig.progress(key);
    assert!(!progress.reset);
    if left {
        assert_eq!(count(&said, "s2"), 1, "{said:?}");
        // All is as it was.
        assert!(!progress.answered && scene.progress().paused && !scene.progress().ended, "{progress:?}");
        return;
    }
    assert_eq!(count(&said, "s0"), 1, "{said:?}");
    assert!(progress.answered && progress.response.ended && !progress.response.paused, "{progress:?}");
    let response = scene.rig.response(key).unwrap();
    assert_eq!((response.status(), response.body.as_str()), ("418", "answer"));
    // The next one has no effect.
    if scene.act() {
        assert_eq!(count(&scene.rig.said(), "s0"), 1);
        assert!(scene.rig.progress(key).response.ended);
    }
}

fn a_pause_has_an_end(engine: &'static str, setting: Setting, left: bool) {
    let stream = u32::from(setting.direction == Direction::Response);
    let mut scene = Scene::new(engine, setting, &format!("(drop (call $continue (i32.const {stream})))"));
    let key = scene.key;
    scene.begin();
    if left {
        let_head_leave(&mut scene);
    }
    scene.first_piece();
    scene.rest();
    assert!(scene.progress().paused);
    scene.rig.worker.answer(key, 503, Bytes::from_static(b"held for too long"));
    let progress = scene.rig.progress(key);
    if left {
        assert!(progress.reset, "what has begun cannot be answered otherwise: {progress:?}");
        return;
    }
    assert!(progress.answered && !progress.reset && progress.response.ended, "{progress:?}");
    let response = scene.rig.response(key).unwrap();
    assert_eq!((response.status(), response.body.as_str()), ("503", "held for too long"));
    // What would have resumed it comes too late.
    scene.rig.said();
    assert!(scene.act());
    assert!(scene.rig.said().is_empty());
    assert!(scene.rig.progress(key).response.ended);
}
