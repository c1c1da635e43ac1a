//! What an observer is shown.

use std::sync::{Arc, Mutex};

use chassis_abi::{Callback, HeaderList, HostCall, Observer};
use chassis_engine_api::Stop;

use crate::rig::{DATA, Rig};

struct Notes(Arc<Mutex<Vec<String>>>);

impl Observer for Notes {
    fn callback_begins(&mut self, callback: Callback, context: u32, args: &[u32]) {
        self.0.lock().unwrap().push(format!("> {} {context} {args:?}", callback.name()));
    }

    fn callback_ends(&mut self, callback: Callback, result: Result<u32, &Stop>) {
        let result = result.map_err(ToString::to_string);
        self.0.lock().unwrap().push(format!("< {} {result:?}", callback.name()));
    }

    fn host_call(&mut self, call: HostCall<'_>) {
        let HostCall { row, args, result, result_name, returned } = call;
        let returned = returned.map_or_else(String::new, |returned| format!(" = {returned}"));
        self.0.lock().unwrap().push(format!("{} {args:?} {result:?} {result_name}{returned}", row.name));
    }
}

fn watched() -> (Rig, Arc<Mutex<Vec<String>>>) {
    let mut rig = Rig::new();
    let notes = Arc::new(Mutex::new(Vec::new()));
    rig.board().observer = Some(Box::new(Notes(notes.clone())));
    (rig, notes)
}

#[test]
fn callbacks_and_calls_in_order_with_readable_arguments() {
    let (mut rig, notes) = watched();
    rig.request(|wasm| {
        assert_eq!(wasm.header(0, "x-a"), Ok(b"1".to_vec()));
        wasm.property("request.path").unwrap_err();
        wasm.env("proxy_log", &[9, DATA, 0]).unwrap();
        let [text, len] = wasm.put(DATA, b"a\n\x1b\0");
        wasm.env("proxy_log", &[2, text, len]).unwrap();
        let [text, len] = wasm.put(DATA, b"\xff");
        wasm.env("proxy_log", &[2, text, len]).unwrap();
        wasm.env("proxy_log", &[2, u32::MAX, 7]).unwrap();
        let pairs: HeaderList = [("a", "1"), ("b", "\u{1}")].into_iter().collect();
        let [pairs, len] = wasm.put(DATA, &pairs.encode());
        wasm.env("proxy_set_header_map_pairs", &[0, pairs, len]).unwrap();
        wasm.env("proxy_set_header_map_pairs", &[0, pairs, 9]).unwrap();
        wasm.env("proxy_increment_metric", &[u32::MAX, 0]).unwrap();
        wasm.import("env", "proxy_record_metric", &[1, u64::MAX]).unwrap();
        wasm.import("env", "pthread_equal", &[1, 1]).unwrap();
        wasm.import("env", "emscripten_notify_memory_growth", &[0]).unwrap();
        wasm.wasi("fd_close", &[7]).unwrap();
    });
    assert_eq!(
        *notes.lock().unwrap(),
        [
            "> proxy_on_request_headers 3 [0, 0]",
            r#"proxy_get_header_map_value ["0", "x-a"] Some(0) ok = 1"#,
            r#"proxy_get_property ["request.path"] Some(1) not_found"#,
            r#"proxy_log ["9", ""] Some(2) bad_argument"#,
            r#"proxy_log ["2", "a\\n\\u{1b}\\u{0}"] Some(0) ok"#,
            r#"proxy_log ["2", "\\xff"] Some(0) ok"#,
            r#"proxy_log ["2", "<7 bytes outside the memory>"] Some(6) invalid_memory_access"#,
            r#"proxy_set_header_map_pairs ["0", "a: 1, b: \\u{1}"] Some(2) bad_argument"#,
            r#"proxy_set_header_map_pairs ["0", "<9 malformed bytes>"] Some(2) bad_argument"#,
            r#"proxy_increment_metric ["-1", "0"] Some(1) not_found"#,
            r#"proxy_record_metric ["1", "-1"] Some(1) not_found"#,
            r#"pthread_equal ["1", "1"] Some(1) "#,
            r#"emscripten_notify_memory_growth ["0"] None "#,
            r#"fd_close ["7"] Some(8) badf"#,
            "< proxy_on_request_headers Ok(3)",
        ]
    );
}

#[test]
fn long_arguments_are_cut_between_characters() {
    let (mut rig, notes) = watched();
    rig.request(|wasm| {
        let [text, len] = wasm.put(DATA, format!("a{}", "\u{e9}".repeat(3000)).as_bytes());
        wasm.env("proxy_log", &[2, text, len]).unwrap();
    });
    let seen = notes.lock().unwrap()[1].clone();
    assert!(seen.contains(&format!("a{}... (6001 bytes)", "\u{e9}".repeat(2047))), "{}", seen.len());
}

#[test]
fn a_stop_is_shown_where_it_happened() {
    let (mut rig, notes) = watched();
    let stopped = rig.run(Callback::Tick, 1, |wasm| wasm.wasi("proc_exit", &[5]));
    assert!(stopped.is_err());
    assert_eq!(
        *notes.lock().unwrap(),
        ["> proxy_on_tick 1 []", r#"proc_exit ["5"] None "#, r#"< proxy_on_tick Err("the guest exited with code 5")"#,]
    );
}

#[test]
fn what_return_pointers_got_is_shown() {
    let (mut rig, notes) = watched();
    rig.request(|wasm| {
        wasm.env("proxy_get_header_map_pairs", &[0, 0, 4]).unwrap();
        wasm.env("proxy_get_header_map_size", &[0, 0]).unwrap();
        wasm.env("proxy_get_current_time_nanoseconds", &[0]).unwrap();
        let time = wasm.u64_at(0);
        wasm.env("proxy_get_log_level", &[0]).unwrap();
        wasm.env("proxy_get_status", &[0, 4, 8]).unwrap();
        // Both answers in one place: the size stands where the pointer was.
        wasm.env("proxy_get_header_map_pairs", &[0, 0, 0]).unwrap();
        wasm.env("proxy_get_current_time_nanoseconds", &[u32::MAX]).unwrap();
        wasm.put(DATA, time.to_string().as_bytes());
        wasm.env("proxy_log", &[2, DATA, time.to_string().len() as u32]).unwrap();
    });
    let notes = notes.lock().unwrap();
    let shown = |i: usize| notes[i].split_once(" = ").map(|(_, shown)| shown.to_owned());
    assert!(shown(1).unwrap().contains(":path: /") && shown(1).unwrap().contains("x-a: 1"), "{}", notes[1]);
    assert!(shown(2).unwrap().parse::<u32>().unwrap() > 0);
    assert!(notes[8].contains(&format!(r#"["2", "{}"]"#, shown(3).unwrap())), "{notes:#?}");
    assert_eq!((shown(4).as_deref(), shown(5).as_deref()), (Some("3"), Some("0, ")));
    assert!(shown(6).unwrap().ends_with("malformed bytes>"), "{}", notes[6]);
    assert_eq!((shown(7), shown(8)), (None, None), "{notes:#?}");
}
