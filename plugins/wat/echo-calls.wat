;; echo-calls: in each callback of a stream, calls many host functions and logs what they answered, so that the
;; logs of two engines (or two hosts) can be compared line by line. Nothing that differs from run to run, such
;; as the time, is logged.
;;
;; A line is "NAME STATUS" at level info. A call that gives a value adds it: " size=N hash=H [TEXT]", H being the
;; 32-bit FNV-1a hash of the first 4096 bytes and TEXT the first 64 bytes.
;;
;; What it changes. Each map (request and response headers, trailers): x-echo is "three", x-echo-made is "made",
;; x-echo-high holds bytes above 0x7f; content-length is removed. Each piece of a body: "<" before it, "[x]" in
;; place of its first byte, and ">" behind the last piece.
(module
  (import "env" "proxy_log"
    (func $log (param $level i32) (param $message i32) (param $size i32) (result i32)))
  (import "env" "proxy_get_log_level" (func $get_log_level (param $slot i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $get_time (param $slot i32) (result i32)))
  (import "env" "proxy_get_status"
    (func $get_status (param $code_slot i32) (param $value_slot i32) (param $size_slot i32) (result i32)))
  (import "env" "proxy_get_property"
    (func $get_property (param $path i32) (param $path_size i32) (param $value_slot i32) (param $size_slot i32)
      (result i32)))
  (import "env" "proxy_set_property"
    (func $set_property (param $path i32) (param $path_size i32) (param $value i32) (param $size i32)
      (result i32)))
  (import "env" "proxy_call_foreign_function"
    (func $foreign (param $name i32) (param $name_size i32) (param $arguments i32) (param $arguments_size i32)
      (param $value_slot i32) (param $size_slot i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $set_effective_context (param $context i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue_stream (param $stream i32) (result i32)))
  (import "env" "proxy_done" (func $done (result i32)))
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

  ;; 0x00 and 0x04: the slots for an address and a size. 0x08: a slot of 8 bytes for all else.
  ;; 0x1000: the line buffer, 4 KiB. 0x4000: the heap, which grows.
  (memory (export "memory") 1)
  ;; The keys and values that it sends.
  (data (i32.const 0x020) ":path")
  (data (i32.const 0x040) ":status")
  (data (i32.const 0x060) "x-missing")
  (data (i32.const 0x080) "x-echo")
  (data (i32.const 0x0a0) "x-echo-made")
  (data (i32.const 0x0c0) "x-echo-dropped")
  (data (i32.const 0x0e0) "x-echo-high")
  (data (i32.const 0x100) "content-length")
  (data (i32.const 0x120) "one")
  (data (i32.const 0x140) "two")
  (data (i32.const 0x160) "three")
  (data (i32.const 0x180) "made")
  (data (i32.const 0x1a0) "\80\c3\a9\ff")
  (data (i32.const 0x1c0) "<")
  (data (i32.const 0x1e0) "[x]")
  (data (i32.const 0x200) ">")
  (data (i32.const 0x220) "request\00path")
  (data (i32.const 0x240) "no\00such\00property")
  (data (i32.const 0x260) "echo_calls")
  (data (i32.const 0x280) "no_such_function")
  ;; Pairs that promise two entries and hold none.
  (data (i32.const 0x2a0) "\02\00\00\00" "\ff\ff\ff\7f")
  ;; The names in the log, 32 bytes each.
  (data (i32.const 0x300) "= vm_start")
  (data (i32.const 0x320) "= configure")
  (data (i32.const 0x340) "= request_headers")
  (data (i32.const 0x360) "= request_body")
  (data (i32.const 0x380) "= request_trailers")
  (data (i32.const 0x3a0) "= response_headers")
  (data (i32.const 0x3c0) "= response_body")
  (data (i32.const 0x3e0) "= response_trailers")
  (data (i32.const 0x400) "= done")
  (data (i32.const 0x420) "= log")
  (data (i32.const 0x440) "log at level 6")
  (data (i32.const 0x460) "get_log_level")
  (data (i32.const 0x480) "get_current_time")
  (data (i32.const 0x4a0) "get_status")
  (data (i32.const 0x4c0) "get_property request.path")
  (data (i32.const 0x4e0) "get_property missing")
  (data (i32.const 0x500) "set_property")
  (data (i32.const 0x520) "get_property set before")
  (data (i32.const 0x540) "foreign function unknown")
  (data (i32.const 0x560) "effective context own")
  (data (i32.const 0x580) "effective context unknown")
  (data (i32.const 0x5a0) "continue_stream 0")
  (data (i32.const 0x5c0) "continue_stream 99")
  (data (i32.const 0x5e0) "done")
  (data (i32.const 0x600) "map size")
  (data (i32.const 0x620) "get :path")
  (data (i32.const 0x640) "get :status")
  (data (i32.const 0x660) "get x-missing")
  (data (i32.const 0x680) "add x-echo one")
  (data (i32.const 0x6a0) "add x-echo two")
  (data (i32.const 0x6c0) "get x-echo")
  (data (i32.const 0x6e0) "replace x-echo three")
  (data (i32.const 0x700) "replace x-echo-made")
  (data (i32.const 0x720) "add x-echo-dropped")
  (data (i32.const 0x740) "remove x-echo-dropped")
  (data (i32.const 0x760) "remove x-missing")
  (data (i32.const 0x780) "add x-echo-high")
  (data (i32.const 0x7a0) "get x-echo-high")
  (data (i32.const 0x7c0) "remove content-length")
  (data (i32.const 0x7e0) "get pairs")
  (data (i32.const 0x800) "set pairs malformed")
  (data (i32.const 0x820) "set pairs unchanged")
  (data (i32.const 0x840) "get pairs of map 99")
  (data (i32.const 0x860) "get pairs of response headers")
  (data (i32.const 0x880) "get pairs of request trailers")
  (data (i32.const 0x8a0) "buffer status size")
  (data (i32.const 0x8c0) "buffer status flags")
  (data (i32.const 0x8e0) "get first 64")
  (data (i32.const 0x900) "get all")
  (data (i32.const 0x920) "get all but the first")
  (data (i32.const 0x940) "get past the end")
  (data (i32.const 0x960) "set: in front")
  (data (i32.const 0x980) "set: in the middle")
  (data (i32.const 0x9a0) "set: at the end")
  (data (i32.const 0x9c0) "get after set")
  (data (i32.const 0x9e0) "get buffer 99")
  (data (i32.const 0xa00) "get request body")
  (data (i32.const 0xa20) "get plugin configuration")
  (data (i32.const 0xa40) "get vm configuration")
  (data (i32.const 0xa60) " size=")
  (data (i32.const 0xa80) " hash=")
  (data (i32.const 0xaa0) " [")
  (data (i32.const 0xac0) "]")
  (data (i32.const 0xae0) " end_of_stream=")
  (data (i32.const 0xb00) "remove x-echo")
  (global $heap (mut i32) (i32.const 0x4000))
  (global $line (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))

  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (call $allocate (local.get $size)))

  ;; --- callbacks ------------------------------------------------------------------------------------------

  (func (export "proxy_on_vm_start") (param $context i32) (param $size i32) (result i32)
    (call $enter (i32.const 0x300) (local.get $size) (i32.const 0))
    (call $configurations)
    (i32.const 1))

  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (call $enter (i32.const 0x320) (local.get $size) (i32.const 0))
    (call $configurations)
    (i32.const 1))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (call $enter (i32.const 0x340) (local.get $headers) (local.get $end_of_stream))
    (call $map (i32.const 0))
    (call $out_of_place)
    (call $properties)
    (call $contexts (local.get $context))
    (i32.const 0))

  (func (export "proxy_on_request_body")
    (param $context i32) (param $size i32) (param $end_of_stream i32) (result i32)
    (call $enter (i32.const 0x360) (local.get $size) (local.get $end_of_stream))
    (call $buffer (i32.const 0) (local.get $end_of_stream))
    (call $configurations)
    (i32.const 0))

  (func (export "proxy_on_request_trailers") (param $context i32) (param $trailers i32) (result i32)
    (call $enter (i32.const 0x380) (local.get $trailers) (i32.const 0))
    (call $map (i32.const 1))
    (i32.const 0))

  (func (export "proxy_on_response_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (call $enter (i32.const 0x3a0) (local.get $headers) (local.get $end_of_stream))
    (call $map (i32.const 2))
    (call $properties)
    (i32.const 0))

  (func (export "proxy_on_response_body")
    (param $context i32) (param $size i32) (param $end_of_stream i32) (result i32)
    (call $enter (i32.const 0x3c0) (local.get $size) (local.get $end_of_stream))
    (call $buffer (i32.const 1) (local.get $end_of_stream))
    (i32.const 0))

  (func (export "proxy_on_response_trailers") (param $context i32) (param $trailers i32) (result i32)
    (call $enter (i32.const 0x3e0) (local.get $trailers) (i32.const 0))
    (call $map (i32.const 3))
    (i32.const 0))

  (func (export "proxy_on_done") (param $context i32) (result i32)
    (call $enter (i32.const 0x400) (i32.const 0) (i32.const 0))
    (i32.const 1))

  (func (export "proxy_on_log") (param $context i32)
    (call $enter (i32.const 0x420) (i32.const 0) (i32.const 0))
    (call $report_value (i32.const 0x620)
      (call $get_header (i32.const 0) (i32.const 0x20) (i32.const 5) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x640)
      (call $get_header (i32.const 2) (i32.const 0x40) (i32.const 7) (i32.const 0) (i32.const 4))))

  ;; --- the calls ------------------------------------------------------------------------------------------

  ;; Every map call on one map.
  (func $map (param $map i32)
    (call $report_slot (i32.const 0x600) (call $get_map_size (local.get $map) (i32.const 8)))
    (call $report_value (i32.const 0x620)
      (call $get_header (local.get $map) (i32.const 0x20) (i32.const 5) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x640)
      (call $get_header (local.get $map) (i32.const 0x40) (i32.const 7) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x660)
      (call $get_header (local.get $map) (i32.const 0x60) (i32.const 9) (i32.const 0) (i32.const 4)))
    ;; Two entries of one name: a get gives the first, a replace leaves one.
    (call $report (i32.const 0x680)
      (call $add_header (local.get $map) (i32.const 0x80) (i32.const 6) (i32.const 0x120) (i32.const 3)))
    (call $report (i32.const 0x6a0)
      (call $add_header (local.get $map) (i32.const 0x80) (i32.const 6) (i32.const 0x140) (i32.const 3)))
    (call $report_value (i32.const 0x6c0)
      (call $get_header (local.get $map) (i32.const 0x80) (i32.const 6) (i32.const 0) (i32.const 4)))
    (call $report_slot (i32.const 0x600) (call $get_map_size (local.get $map) (i32.const 8)))
    (call $report (i32.const 0x6e0)
      (call $replace_header (local.get $map) (i32.const 0x80) (i32.const 6) (i32.const 0x160) (i32.const 5)))
    (call $report_value (i32.const 0x6c0)
      (call $get_header (local.get $map) (i32.const 0x80) (i32.const 6) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0xb00) (call $remove_header (local.get $map) (i32.const 0x80) (i32.const 6)))
    (call $report_value (i32.const 0x6c0)
      (call $get_header (local.get $map) (i32.const 0x80) (i32.const 6) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0x6e0)
      (call $replace_header (local.get $map) (i32.const 0x80) (i32.const 6) (i32.const 0x160) (i32.const 5)))
    (call $report (i32.const 0x700)
      (call $replace_header (local.get $map) (i32.const 0xa0) (i32.const 11) (i32.const 0x180) (i32.const 4)))
    (call $report (i32.const 0x720)
      (call $add_header (local.get $map) (i32.const 0xc0) (i32.const 14) (i32.const 0) (i32.const 0)))
    (call $report (i32.const 0x740) (call $remove_header (local.get $map) (i32.const 0xc0) (i32.const 14)))
    (call $report (i32.const 0x760) (call $remove_header (local.get $map) (i32.const 0x60) (i32.const 9)))
    (call $report (i32.const 0x780)
      (call $add_header (local.get $map) (i32.const 0xe0) (i32.const 11) (i32.const 0x1a0) (i32.const 4)))
    (call $report_value (i32.const 0x7a0)
      (call $get_header (local.get $map) (i32.const 0xe0) (i32.const 11) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0x7c0) (call $remove_header (local.get $map) (i32.const 0x100) (i32.const 14)))
    (call $report (i32.const 0x800) (call $set_pairs (local.get $map) (i32.const 0x2a0) (i32.const 8)))
    (call $map_round_trip (local.get $map)))

  ;; Reads a map's pairs, gives the same pairs back, and reads them again.
  (func $map_round_trip (param $map i32)
    (local $status i32)
    (local.set $status (call $get_pairs (local.get $map) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x7e0) (local.get $status))
    (if (local.get $status)
      (then (return)))
    (call $report (i32.const 0x820)
      (call $set_pairs (local.get $map) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
    (call $report_value (i32.const 0x7e0) (call $get_pairs (local.get $map) (i32.const 0) (i32.const 4))))

  ;; Every buffer call on one body.
  (func $buffer (param $buffer i32) (param $end_of_stream i32)
    (local $status i32)
    (local.set $status (call $get_buffer_status (local.get $buffer) (i32.const 8) (i32.const 12)))
    (call $report_slot (i32.const 0x8a0) (local.get $status))
    (i32.store (i32.const 8) (i32.load (i32.const 12)))
    (call $report_slot (i32.const 0x8c0) (local.get $status))
    (call $report_value (i32.const 0x8e0)
      (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x900)
      (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4)))
    ;; Start and maximum together are more than 32 bits hold.
    (call $report_value (i32.const 0x920)
      (call $get_buffer (local.get $buffer) (i32.const 1) (i32.const -1) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x940)
      (call $get_buffer (local.get $buffer) (i32.const 0x7fffffff) (i32.const 8) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0x960)
      (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 0) (i32.const 0x1c0) (i32.const 1)))
    (call $report (i32.const 0x980)
      (call $set_buffer (local.get $buffer) (i32.const 1) (i32.const 1) (i32.const 0x1e0) (i32.const 3)))
    (if (local.get $end_of_stream)
      (then
        (call $report (i32.const 0x9a0)
          (call $set_buffer
            (local.get $buffer) (i32.const 0x7fffffff) (i32.const 0) (i32.const 0x200) (i32.const 1)))))
    (call $report_value (i32.const 0x9c0)
      (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x9e0)
      (call $get_buffer (i32.const 99) (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 4))))

  ;; In a request's headers callback: maps and buffers that are not there, or not yet.
  (func $out_of_place
    (call $report (i32.const 0x840) (call $get_pairs (i32.const 99) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x860) (call $get_pairs (i32.const 2) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x880) (call $get_pairs (i32.const 1) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0xa00)
      (call $get_buffer (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 4)))
    (call $configurations))

  (func $configurations
    (call $report_value (i32.const 0xa40)
      (call $get_buffer (i32.const 6) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0xa20)
      (call $get_buffer (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4))))

  (func $properties
    (call $report_value (i32.const 0x4c0)
      (call $get_property (i32.const 0x220) (i32.const 12) (i32.const 0) (i32.const 4)))
    (call $report_value (i32.const 0x4e0)
      (call $get_property (i32.const 0x240) (i32.const 16) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0x500)
      (call $set_property (i32.const 0x260) (i32.const 10) (i32.const 0x180) (i32.const 4)))
    (call $report_value (i32.const 0x520)
      (call $get_property (i32.const 0x260) (i32.const 10) (i32.const 0) (i32.const 4))))

  ;; What belongs to no map and no buffer.
  (func $contexts (param $context i32)
    (call $report (i32.const 0x440) (call $log (i32.const 6) (i32.const 0x20) (i32.const 5)))
    (call $report (i32.const 0x460) (call $get_log_level (i32.const 8)))
    (call $report (i32.const 0x480) (call $get_time (i32.const 8)))
    (call $report (i32.const 0x4a0) (call $get_status (i32.const 8) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0x540)
      (call $foreign (i32.const 0x280) (i32.const 16) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0x580) (call $set_effective_context (i32.const 0x7fffffff)))
    (call $report (i32.const 0x560) (call $set_effective_context (local.get $context)))
    (call $report (i32.const 0x5c0) (call $continue_stream (i32.const 99)))
    ;; Nothing is paused: allowed, and without effect.
    (call $report (i32.const 0x5a0) (call $continue_stream (i32.const 0)))
    (call $report (i32.const 0x5e0) (call $done)))

  ;; --- lines with more than a status ----------------------------------------------------------------------

  ;; Begins a callback: logs its name and parameters.
  (func $enter (param $name i32) (param $size i32) (param $end_of_stream i32)
    (call $reset_heap)
    (call $text (local.get $name))
    (call $text (i32.const 0xa60))
    (call $number (local.get $size))
    (call $text (i32.const 0xae0))
    (call $number (local.get $end_of_stream))
    (call $end))

  ;; The value is the number in the slot at 8: "NAME STATUS [NUMBER]".
  (func $report_slot (param $name i32) (param $status i32)
    (if (local.get $status)
      (then
        (call $report (local.get $name) (local.get $status))
        (return)))
    (call $text (local.get $name))
    (call $char (i32.const 32))
    (call $number (local.get $status))
    (call $text (i32.const 0xaa0))
    (call $number (i32.load (i32.const 8)))
    (call $text (i32.const 0xac0))
    (call $end))

  ;; The slots at 0 and 4 say where the value is.
  (func $report_value (param $name i32) (param $status i32)
    (if (local.get $status)
      (then
        (call $report (local.get $name) (local.get $status))
        (return)))
    (call $text (local.get $name))
    (call $char (i32.const 32))
    (call $number (local.get $status))
    (call $text (i32.const 0xa60))
    (call $number (i32.load (i32.const 4)))
    (call $text (i32.const 0xa80))
    (call $number (call $hash (i32.load (i32.const 0)) (i32.load (i32.const 4))))
    (call $text (i32.const 0xaa0))
    (call $bytes (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (call $text (i32.const 0xac0))
    (call $end))

  ;; FNV-1a of at most 4096 bytes: a body of a megabyte would take an interpreter past its deadline.
  (func $hash (param $at i32) (param $size i32) (result i32)
    (local $end i32)
    (local $hash i32)
    (local.set $hash (i32.const 0x811c9dc5))
    (if (i32.gt_u (local.get $size) (i32.const 4096))
      (then (local.set $size (i32.const 4096))))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (local.set $hash
            (i32.mul
              (i32.xor (local.get $hash) (i32.load8_u (local.get $at)))
              (i32.const 0x01000193)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (local.get $hash))

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
    (call $char (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))

  ;; The bytes as they are, at most 64 of them.
  (func $bytes (param $at i32) (param $size i32)
    (local $end i32)
    (if (i32.gt_u (local.get $size) (i32.const 64))
      (then (local.set $size (i32.const 64))))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (loop $next
      (if (i32.ge_u (local.get $at) (local.get $end))
        (then (return)))
      (call $char (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))

  ;; --- memory for what the host hands over ---------------------------------------------------------------

  ;; Nothing is kept from one callback to the next, so each starts with an empty heap.
  (func $reset_heap
    (global.set $heap (i32.const 0x4000)))

  ;; 0 when the host does not grant the memory.
  (func $allocate (param $size i32) (result i32)
    (local $at i32)
    (local $end i32)
    (local.set $at (global.get $heap))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (if (i32.or
          (i32.lt_u (local.get $end) (local.get $at))
          (i32.gt_u (local.get $end) (i32.const 0x7fff0000)))
      (then (return (i32.const 0))))
    (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
      (then
        (if (i32.eq
              (memory.grow
                (i32.sub
                  (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16))
                  (memory.size)))
              (i32.const -1))
          (then (return (i32.const 0))))))
    ;; The next piece starts at a multiple of 8.
    (global.set $heap (i32.and (i32.add (local.get $end) (i32.const 7)) (i32.const -8)))
    (local.get $at)))
