//! Guests in Wasm text.

/// A module from the functions of `body`, with a prelude of imports, memory, marker, allocator and small helpers.
///
/// In `body`, `@"text"` stands for two operands: where the text is in memory, and its length.
pub(crate) fn guest(body: &str) -> String {
    let mut data = String::new();
    let mut out = String::new();
    let (mut rest, mut at) = (body, TEXTS);
    while let Some(start) = rest.find("@\"") {
        let (before, quoted) = rest.split_at(start);
        let end = quoted[2..].find('"').expect("a text ends") + 2;
        let text = &quoted[2..end];
        data.push_str(&format!("(data (i32.const {at}) \"{text}\")\n"));
        out.push_str(&format!("{before}(i32.const {at}) (i32.const {})", text.len()));
        at += text.len();
        rest = &quoted[end + 1..];
    }
    out.push_str(rest);
    assert!(at < HEAP, "the texts fit");
    format!("(module\n{PRELUDE}\n{data}{out})")
}

/// What each stream callback of `names` shall do: `body` gives the action.
pub(crate) fn callbacks(names: &[&str], body: &str) -> String {
    names
        .iter()
        .map(|name| {
            let params = if name.ends_with("trailers") { "i32 i32" } else { "i32 i32 i32" };
            format!("(func (export \"{name}\") (param {params}) (result i32)\n{body})\n")
        })
        .collect()
}

const TEXTS: usize = 0x100;
const HEAP: usize = 0x4000;

const PRELUDE: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $set_effective (param i32) (result i32)))
  (import "env" "proxy_done" (func $done (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_call"
    (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream"
    (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
  (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $get_time (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 0x4000))
  (global $broken_allocator (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func $allocate (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (loop $for_ever (br_if $for_ever (global.get $broken_allocator)))
    (global.get $heap)
    ;; Guests here keep nothing for long: the heap starts anew when it has used up the memory.
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.const 0xf000)) (then (global.set $heap (i32.const 0x4000)))))
  (func $say (param $text i32) (param $size i32)
    (drop (call $log (i32.const 2) (local.get $text) (local.get $size))))
  ;; Logs what a host call has put at the slots 0 and 4; "none" if it did not.
  (func $say_given (param $status i32)
    (if (local.get $status)
      (then (i64.store (i32.const 16) (i64.const 0x656e6f6e)) (call $say (i32.const 16) (i32.const 4)))
      (else (call $say (i32.load (i32.const 0)) (i32.load (i32.const 4))))))
  ;; Logs a number below 10 behind a text of one character.
  (func $say_digit (param $text i32) (param $size i32) (param $number i32)
    (i32.store8 (i32.const 16) (i32.load8_u (local.get $text)))
    (i32.store8 (i32.const 17) (i32.add (i32.const 48) (local.get $number)))
    (call $say (i32.const 16) (i32.const 2)))
  ;; Nanoseconds of the monotonic clock.
  (func $now (result i64)
    (drop (call $get_time (i32.const 1) (i64.const 1) (i32.const 32)))
    (i64.load (i32.const 32)))
  ;; A local response with this body, no headers and no gRPC status.
  (func $answer (param $status i32) (param $body i32) (param $size i32)
    (call $say_digit (i32.const 18) (i32.const 1)
      (call $send (local.get $status) (i32.const 0) (i32.const 0) (local.get $body) (local.get $size)
        (i32.const 0) (i32.const 0) (i32.const -1))))
  (data (i32.const 18) "s")
"#;
