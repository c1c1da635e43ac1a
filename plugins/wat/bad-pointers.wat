;; bad-pointers: calls host functions with addresses outside its memory, in all the ways that an address can be
;; wrong: past the end, across the end, wrapping around, for inputs and for return slots; last with an allocator
;; that fails or lies. Each status is logged as "NAME STATUS" at level info, then a sum:
;;   request headers: "proxy 38 calls, 38 answered 6" and "wasi 7 calls, 7 answered 21"
;;   request body, response headers, response body: the sum of their own calls
;; Expected: every proxy call answers 6 (INVALID_MEMORY_ACCESS), every WASI call 21 (FAULT), nothing traps, and
;; neither request nor response is changed.
(module
  (import "env" "proxy_log"
    (func $log (param $level i32) (param $message i32) (param $size i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $get_time (param $slot i32) (result i32)))
  (import "env" "proxy_get_log_level" (func $get_log_level (param $slot i32) (result i32)))
  (import "env" "proxy_get_property"
    (func $get_property (param $path i32) (param $path_size i32) (param $value_slot i32) (param $size_slot i32)
      (result i32)))
  (import "env" "proxy_set_property"
    (func $set_property (param $path i32) (param $path_size i32) (param $value i32) (param $size i32)
      (result i32)))
  (import "env" "proxy_get_header_map_size" (func $get_map_size (param $map i32) (param $slot i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs"
    (func $get_pairs (param $map i32) (param $value_slot i32) (param $size_slot i32) (result i32)))
  (import "env" "proxy_set_header_map_pairs"
    (func $set_pairs (param $map i32) (param $pairs i32) (param $size i32) (result i32)))
  (import "env" "proxy_get_header_map_value"
    (func $get_header (param $map i32) (param $key i32) (param $key_size i32) (param $value_slot i32)
      (param $size_slot i32) (result i32)))
  (import "env" "proxy_add_header_map_value"
    (func $add_header (param $map i32) (param $key i32) (param $key_size i32) (param $value i32)
      (param $size i32) (result i32)))
  (import "env" "proxy_replace_header_map_value"
    (func $replace_header (param $map i32) (param $key i32) (param $key_size i32) (param $value i32)
      (param $size i32) (result i32)))
  (import "env" "proxy_remove_header_map_value"
    (func $remove_header (param $map i32) (param $key i32) (param $key_size i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes"
    (func $get_buffer (param $buffer i32) (param $start i32) (param $max i32) (param $value_slot i32)
      (param $size_slot i32) (result i32)))
  (import "env" "proxy_get_buffer_status"
    (func $get_buffer_status (param $buffer i32) (param $size_slot i32) (param $flags_slot i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes"
    (func $set_buffer (param $buffer i32) (param $start i32) (param $size i32) (param $value i32)
      (param $value_size i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param $status i32) (param $details i32) (param $details_size i32) (param $body i32)
      (param $body_size i32) (param $headers i32) (param $headers_size i32) (param $grpc_status i32)
      (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $vectors i32) (param $count i32) (param $written_slot i32)
      (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param $clock i32) (param $precision i64) (param $slot i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param $at i32) (param $size i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param $count_slot i32) (param $size_slot i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param $count_slot i32) (param $size_slot i32) (result i32)))

  ;; One page, and it cannot grow: every address from 0x10000 on is outside.
  (memory (export "memory") 1 1)
  ;; 0x00 and 0x04: the slots for an address and a size. 0x1000: the line buffer, 4 KiB. 0x4000: the heap.
  (data (i32.const 0x020) ":path")
  (data (i32.const 0x040) "x-bad")
  (data (i32.const 0x060) ":status")
  ;; A property's path of two segments.
  (data (i32.const 0x080) "request\00path")
  ;; Two vectors for fd_write: one across the end of memory, one whose end wraps around.
  (data (i32.const 0x0a0) "\ff\ff\00\00" "\02\00\00\00")
  (data (i32.const 0x0c0) "\f0\ff\ff\ff" "\20\00\00\00")
  ;; The names in the log, 32 bytes each.
  (data (i32.const 0x100) "log")
  (data (i32.const 0x120) "get_current_time")
  (data (i32.const 0x140) "get_log_level")
  (data (i32.const 0x160) "get_property")
  (data (i32.const 0x180) "set_property")
  (data (i32.const 0x1a0) "get_header_map_size")
  (data (i32.const 0x1c0) "get_header_map_pairs")
  (data (i32.const 0x1e0) "set_header_map_pairs")
  (data (i32.const 0x200) "get_header_map_value")
  (data (i32.const 0x220) "add_header_map_value")
  (data (i32.const 0x240) "replace_header_map_value")
  (data (i32.const 0x260) "remove_header_map_value")
  (data (i32.const 0x280) "get_buffer_bytes")
  (data (i32.const 0x2a0) "get_buffer_status")
  (data (i32.const 0x2c0) "set_buffer_bytes")
  (data (i32.const 0x2e0) "send_local_response")
  (data (i32.const 0x300) "fd_write")
  (data (i32.const 0x320) "clock_time_get")
  (data (i32.const 0x340) "random_get")
  (data (i32.const 0x360) "environ_sizes_get")
  (data (i32.const 0x380) "args_sizes_get")
  (data (i32.const 0x3a0) "allocator fails:")
  (data (i32.const 0x3c0) "allocator lies:")
  (data (i32.const 0x3e0) "proxy ")
  (data (i32.const 0x400) "wasi ")
  (data (i32.const 0x420) " calls, ")
  (data (i32.const 0x440) " answered ")
  (global $line (mut i32) (i32.const 0))
  ;; Calls since the last sum, and how many of them answered what $expected says.
  (global $calls (mut i32) (i32.const 0))
  (global $as_expected (mut i32) (i32.const 0))
  (global $expected (mut i32) (i32.const 6))
  ;; What the allocator answers: never called with good memory, as long as every call is refused.
  (global $allocator_answer (mut i32) (i32.const 0x4000))

  (func (export "proxy_abi_version_0_2_1"))

  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $allocator_answer))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (call $without_stream)
    (call $map (i32.const 0) (i32.const 0x20) (i32.const 5))
    (call $allocator)
    (call $local_response)
    (call $sum (i32.const 0x3e0))
    (global.set $expected (i32.const 21))
    (call $wasi)
    (call $sum (i32.const 0x400))
    (global.set $expected (i32.const 6))
    (i32.const 0))

  (func (export "proxy_on_request_body")
    (param $context i32) (param $size i32) (param $end_of_stream i32) (result i32)
    (call $buffer (i32.const 0))
    (call $sum (i32.const 0x3e0))
    (i32.const 0))

  (func (export "proxy_on_response_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (call $map (i32.const 2) (i32.const 0x60) (i32.const 7))
    (call $sum (i32.const 0x3e0))
    (i32.const 0))

  (func (export "proxy_on_response_body")
    (param $context i32) (param $size i32) (param $end_of_stream i32) (result i32)
    (call $buffer (i32.const 1))
    (call $sum (i32.const 0x3e0))
    (i32.const 0))

  ;; 13 calls.
  (func $without_stream
    (call $check (i32.const 0x100) (call $log (i32.const 2) (i32.const 0x10000) (i32.const 1)))
    (call $check (i32.const 0x100) (call $log (i32.const 2) (i32.const 0xffff) (i32.const 2)))
    (call $check (i32.const 0x100) (call $log (i32.const 2) (i32.const 0xfffffff0) (i32.const 0x20)))
    (call $check (i32.const 0x100) (call $log (i32.const 2) (i32.const 0x20) (i32.const 0xffffffff)))
    (call $check (i32.const 0x120) (call $get_time (i32.const 0x10000)))
    (call $check (i32.const 0x120) (call $get_time (i32.const 0xfffc)))
    (call $check (i32.const 0x120) (call $get_time (i32.const 0xfffffffc)))
    (call $check (i32.const 0x140) (call $get_log_level (i32.const 0xfffd)))
    (call $check (i32.const 0x160)
      (call $get_property (i32.const 0xfff8) (i32.const 12) (i32.const 0) (i32.const 4)))
    (call $check (i32.const 0x160)
      (call $get_property (i32.const 0x80) (i32.const 12) (i32.const 0xfffd) (i32.const 4)))
    (call $check (i32.const 0x160)
      (call $get_property (i32.const 0x80) (i32.const 12) (i32.const 0) (i32.const 0xffffffff)))
    (call $check (i32.const 0x180)
      (call $set_property (i32.const 0x7fffffff) (i32.const 5) (i32.const 0x40) (i32.const 5)))
    (call $check (i32.const 0x180)
      (call $set_property (i32.const 0x40) (i32.const 5) (i32.const 0xfffc) (i32.const 5))))

  ;; 17 calls on one map, $known being a key that it has.
  (func $map (param $map i32) (param $known i32) (param $known_size i32)
    (call $check (i32.const 0x1a0) (call $get_map_size (local.get $map) (i32.const 0x10000)))
    (call $check (i32.const 0x1a0) (call $get_map_size (local.get $map) (i32.const 0xfffe)))
    (call $check (i32.const 0x1c0) (call $get_pairs (local.get $map) (i32.const 0x10000) (i32.const 4)))
    (call $check (i32.const 0x1c0) (call $get_pairs (local.get $map) (i32.const 0) (i32.const 0xfffffffe)))
    (call $check (i32.const 0x1e0) (call $set_pairs (local.get $map) (i32.const 0x10000) (i32.const 4)))
    (call $check (i32.const 0x1e0) (call $set_pairs (local.get $map) (i32.const 0x100) (i32.const 0xffffff00)))
    (call $check (i32.const 0x200)
      (call $get_header (local.get $map) (i32.const 0x10000) (i32.const 5) (i32.const 0) (i32.const 4)))
    (call $check (i32.const 0x200)
      (call $get_header (local.get $map) (i32.const 0xfffe) (i32.const 5) (i32.const 0) (i32.const 4)))
    (call $check (i32.const 0x200)
      (call $get_header (local.get $map) (local.get $known) (local.get $known_size)
        (i32.const 0x10000) (i32.const 4)))
    (call $check (i32.const 0x200)
      (call $get_header (local.get $map) (local.get $known) (local.get $known_size)
        (i32.const 0) (i32.const 0xfffd)))
    (call $check (i32.const 0x220)
      (call $add_header (local.get $map) (i32.const 0x10000) (i32.const 5) (i32.const 0x40) (i32.const 5)))
    (call $check (i32.const 0x220)
      (call $add_header (local.get $map) (i32.const 0x40) (i32.const 5) (i32.const 0xfffe) (i32.const 5)))
    (call $check (i32.const 0x240)
      (call $replace_header (local.get $map) (i32.const 0xfffffffe) (i32.const 5) (i32.const 0x40) (i32.const 5)))
    (call $check (i32.const 0x240)
      (call $replace_header (local.get $map) (local.get $known) (local.get $known_size)
        (i32.const 0x40) (i32.const 0xffffffff)))
    (call $check (i32.const 0x260) (call $remove_header (local.get $map) (i32.const 0x10000) (i32.const 5)))
    (call $check (i32.const 0x260) (call $remove_header (local.get $map) (i32.const 0xffff) (i32.const 5)))
    (call $check (i32.const 0x260)
      (call $remove_header (local.get $map) (i32.const 0x40) (i32.const 0x80000000))))

  ;; 4 calls: all addresses are good, but what the allocator answers is not.
  (func $allocator
    (global.set $allocator_answer (i32.const 0))
    (call $text (i32.const 0x3a0))
    (call $char (i32.const 32))
    (call $check (i32.const 0x200)
      (call $get_header (i32.const 0) (i32.const 0x20) (i32.const 5) (i32.const 0) (i32.const 4)))
    (call $text (i32.const 0x3a0))
    (call $char (i32.const 32))
    (call $check (i32.const 0x1c0) (call $get_pairs (i32.const 0) (i32.const 0) (i32.const 4)))
    (global.set $allocator_answer (i32.const 0xffffffff))
    (call $text (i32.const 0x3c0))
    (call $char (i32.const 32))
    (call $check (i32.const 0x200)
      (call $get_header (i32.const 0) (i32.const 0x20) (i32.const 5) (i32.const 0) (i32.const 4)))
    ;; Enough room for a part of the pairs only.
    (global.set $allocator_answer (i32.const 0xfffc))
    (call $text (i32.const 0x3c0))
    (call $char (i32.const 32))
    (call $check (i32.const 0x1c0) (call $get_pairs (i32.const 0) (i32.const 0) (i32.const 4)))
    (global.set $allocator_answer (i32.const 0x4000)))

  ;; 4 calls. None of them may answer the request.
  (func $local_response
    (call $check (i32.const 0x2e0)
      (call $respond (i32.const 500) (i32.const 0x10000) (i32.const 5) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const -1)))
    (call $check (i32.const 0x2e0)
      (call $respond (i32.const 500) (i32.const 0) (i32.const 0) (i32.const 0xfffe) (i32.const 5)
        (i32.const 0) (i32.const 0) (i32.const -1)))
    (call $check (i32.const 0x2e0)
      (call $respond (i32.const 500) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0x7fffffff) (i32.const 8) (i32.const -1)))
    (call $check (i32.const 0x2e0)
      (call $respond (i32.const 500) (i32.const 0) (i32.const 0) (i32.const 0x20) (i32.const 0xfffffff0)
        (i32.const 0) (i32.const 0) (i32.const -1))))

  ;; 7 calls on one body.
  (func $buffer (param $buffer i32)
    (call $check (i32.const 0x280)
      (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const 16) (i32.const 0x10000) (i32.const 4)))
    (call $check (i32.const 0x280)
      (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const 16) (i32.const 0) (i32.const 0xfffd)))
    (call $check (i32.const 0x2a0)
      (call $get_buffer_status (local.get $buffer) (i32.const 0x10000) (i32.const 4)))
    (call $check (i32.const 0x2a0)
      (call $get_buffer_status (local.get $buffer) (i32.const 0) (i32.const 0xfffffffd)))
    (call $check (i32.const 0x2c0)
      (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 0) (i32.const 0x10000) (i32.const 1)))
    (call $check (i32.const 0x2c0)
      (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 0) (i32.const 0xfffe) (i32.const 3)))
    (call $check (i32.const 0x2c0)
      (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const -1)
        (i32.const 0x20) (i32.const 0xfffffff0))))

  ;; 7 calls.
  (func $wasi
    (call $check (i32.const 0x300)
      (call $fd_write (i32.const 1) (i32.const 0x10000) (i32.const 1) (i32.const 0)))
    (call $check (i32.const 0x300)
      (call $fd_write (i32.const 1) (i32.const 0xa0) (i32.const 1) (i32.const 0)))
    (call $check (i32.const 0x300)
      (call $fd_write (i32.const 1) (i32.const 0xc0) (i32.const 1) (i32.const 0)))
    (call $check (i32.const 0x320) (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0xfffc)))
    (call $check (i32.const 0x340) (call $random_get (i32.const 0xfff8) (i32.const 16)))
    (call $check (i32.const 0x360) (call $environ_sizes_get (i32.const 0x10000) (i32.const 4)))
    (call $check (i32.const 0x380) (call $args_sizes_get (i32.const 0) (i32.const 0xffffffff))))

  ;; Logs one status and counts it.
  (func $check (param $name i32) (param $status i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (global.set $as_expected
      (i32.add (global.get $as_expected) (i32.eq (local.get $status) (global.get $expected))))
    (call $report (local.get $name) (local.get $status)))

  ;; Logs "KIND N calls, M answered S" and counts from 0 again.
  (func $sum (param $kind i32)
    (call $text (local.get $kind))
    (call $number (global.get $calls))
    (call $text (i32.const 0x420))
    (call $number (global.get $as_expected))
    (call $text (i32.const 0x440))
    (call $number (global.get $expected))
    (call $end)
    (global.set $calls (i32.const 0))
    (global.set $as_expected (i32.const 0)))

  ;; --- one log line, built in the line buffer -------------------------------------------------------------

  ;; Logs "NAME STATUS" at level info.
  (func $report (param $name i32) (param $status i32)
    (call $text (local.get $name))
    (call $char (i32.const 32))
    (call $number (local.get $status))
    (call $end))

  (func $end
    (drop (call $log (i32.const 2) (i32.const 0x1000) (global.get $line)))
    (global.set $line (i32.const 0)))

  ;; What does not fit into the buffer is left out.
  (func $char (param $c i32)
    (if (i32.ge_u (global.get $line) (i32.const 0x1000))
      (then (return)))
    (i32.store8 (i32.add (i32.const 0x1000) (global.get $line)) (local.get $c))
    (global.set $line (i32.add (global.get $line) (i32.const 1))))

  ;; A text that ends with a NUL.
  (func $text (param $at i32)
    (loop $next
      (if (i32.eqz (i32.load8_u (local.get $at)))
        (then (return)))
      (call $char (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))

  ;; Unsigned, in decimal digits.
  (func $number (param $n i32)
    (if (i32.ge_u (local.get $n) (i32.const 10))
      (then (call $number (i32.div_u (local.get $n) (i32.const 10)))))
    (call $char (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))))
