//! What reaches the log sink.

use std::sync::{Arc, Mutex};

use chassis_abi::{Identity, LogLevel, LogRecord, Services};
use chassis_host::{HostServices, LogLine, LogSink, Reason};

use crate::rig::Rig;

cases! {
    each_engine: [
        a_line_says_who_said_it_where,
        standard_output_and_error_are_lines_too,
        bytes_that_are_no_text_are_escaped,
    ]
    once: [
        a_plugin_over_its_rate_does_not_silence_another,
    ]
}

fn a_line_says_who_said_it_where(engine: &'static str) {
    let guest = r#"
      (func (export "_initialize") (drop (call $log (i32.const 0) @"init")))
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $log (i32.const 1) @"configure")) (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $log (i32.const 3) @"one"))
        (drop (call $set_effective (i32.const 1)))
        (drop (call $log (i32.const 5) @"two"))
        (call $say_digit @"l" (call $log (i32.const 6) @"no level"))
        (i32.const 0))"#;
    let mut rig = Rig::new(engine);
    let plugin = rig.add("speaker", guest);
    let started: Vec<_> =
        rig.lines().into_iter().map(|line| (line.level, line.message, line.context, line.callback)).collect();
    let once = [
        (LogLevel::Trace, "init".to_owned(), 0, "_initialize"),
        (LogLevel::Debug, "configure".to_owned(), 1, "proxy_on_configure"),
    ];
    assert_eq!(started, [once.clone(), once].concat());
    rig.get(&[plugin], &[]);
    let lines = rig.lines();
    assert!(lines.iter().all(|line| line.plugin == "speaker" && line.reason == Reason::Guest));
    let said: Vec<_> = lines.into_iter().map(|line| (line.level, line.message, line.context, line.callback)).collect();
    let wanted = [(LogLevel::Warn, "one", 2), (LogLevel::Critical, "two", 1), (LogLevel::Info, "l2", 1)];
    let wanted = wanted.map(|(level, text, context)| (level, text.to_owned(), context, "proxy_on_request_headers"));
    assert_eq!(said, wanted);
}

fn standard_output_and_error_are_lines_too(engine: &'static str) {
    // The text and its slice for fd_write.
    let guest = r#"
      (data (i32.const 0x3000) "\10\30\00\00\06\00\00\00")
      (data (i32.const 0x3010) "spoken")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $write (i32.const 1) (i32.const 0x3000) (i32.const 1) (i32.const 0)))
        (drop (call $write (i32.const 2) (i32.const 0x3000) (i32.const 1) (i32.const 0)))
        (i32.const 0))"#;
    let text = crate::guest::guest(guest).replacen(
        "(module\n",
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))\n",
        1,
    );
    let mut rig = Rig::new(engine);
    let plugin = crate::rig::load(engine, crate::rig::spec("guest"), &text).unwrap();
    let plugin = rig.worker.add_plugin(plugin, vec![""]).unwrap();
    rig.get(&[plugin], &[]);
    let lines: Vec<_> = rig.lines().into_iter().map(|line| (line.level, line.message)).collect();
    assert_eq!(lines, [(LogLevel::Info, "spoken".to_owned()), (LogLevel::Error, "spoken".to_owned())]);
}

fn bytes_that_are_no_text_are_escaped(engine: &'static str) {
    let guest = r#"(data (i32.const 0x3000) "a\0ab\1b[2J\ff")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (i32.const 0x3000) (i32.const 8)) (i32.const 0))"#;
    let (mut rig, plugin) = Rig::with(engine, guest);
    rig.get(&[plugin], &[]);
    assert_eq!(rig.said(), ["a\\nb\\u{1b}[2J\\xff"]);
}

#[derive(Default)]
struct Lines(Mutex<Vec<(String, String)>>);

impl LogSink for Lines {
    fn log(&self, line: &LogLine<'_>) {
        self.0.lock().unwrap().push((line.plugin.to_owned(), line.message.to_string()));
    }
}

fn a_plugin_over_its_rate_does_not_silence_another() {
    let lines = Arc::new(Lines::default());
    let mut services = HostServices::new(lines.clone(), LogLevel::Info);
    let mut log = |name: &str, level, message: &[u8]| {
        let plugin = Identity { name: name.to_owned(), ..Identity::default() };
        services.log(LogRecord { plugin: &plugin, level, message, context: 0, callback: None, exchange: None });
    };
    for _ in 0..100 {
        log("loud", LogLevel::Info, &[b'x'; 64 << 10]);
    }
    log("calm", LogLevel::Debug, b"too low");
    log("calm", LogLevel::Info, b"here");
    let lines = lines.0.lock().unwrap();
    assert!(lines.len() < 40, "{} lines", lines.len());
    assert_eq!(lines.last().unwrap(), &("calm".to_owned(), "here".to_owned()));
}
