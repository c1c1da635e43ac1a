;; marker-010: what only ABI 0.1.0 has. Its headers callbacks have two parameters, its configuration comes from
;; proxy_get_configuration, a request goes on by proxy_continue_request, a header that is not there is an empty
;; one, and the allocator is `malloc`. All statuses are logged at level info.
;; Expected: each request and response is paused and continued at once, and otherwise untouched.
(module
  (import "env" "proxy_log"
    (func $log (param $level i32) (param $message i32) (param $size i32) (result i32)))
  (import "env" "proxy_get_configuration"
    (func $get_configuration (param $value_slot i32) (param $size_slot i32) (result i32)))
  (import "env" "proxy_get_header_map_value"
    (func $get_header (param $map i32) (param $key i32) (param $key_size i32) (param $value_slot i32)
      (param $size_slot i32) (result i32)))
  (import "env" "proxy_continue_request" (func $continue_request (result i32)))
  (import "env" "proxy_continue_response" (func $continue_response (result i32)))
  (import "env" "proxy_clear_route_cache" (func $clear_route_cache (result i32)))

  (memory (export "memory") 1)
  ;; 0x00 and 0x04: the slots for an address and a size. 0x1000: the line buffer, 4 KiB. 0x4000: the heap.
  (data (i32.const 0x20) "vm_configuration")
  (data (i32.const 0x40) "configuration")
  (data (i32.const 0x60) "continue_request")
  (data (i32.const 0x80) "continue_response")
  (data (i32.const 0xa0) "clear_route_cache")
  (data (i32.const 0xc0) "get x-missing")
  (data (i32.const 0xe0) "x-missing")
  (data (i32.const 0x100) "get :path")
  (data (i32.const 0x120) ":path")
  (global $heap (mut i32) (i32.const 0x4000))
  (global $line (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_1_0"))

  (func (export "malloc") (param $size i32) (result i32)
    (call $allocate (local.get $size)))

  (func (export "proxy_on_vm_start") (param $context i32) (param $size i32) (result i32)
    (call $reset_heap)
    (call $report_value (i32.const 0x20) (call $get_configuration (i32.const 0) (i32.const 4)))
    (i32.const 1))

  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (call $reset_heap)
    (call $report_value (i32.const 0x40) (call $get_configuration (i32.const 0) (i32.const 4)))
    (i32.const 1))

  (func (export "proxy_on_request_headers") (param $context i32) (param $headers i32) (result i32)
    (call $reset_heap)
    (call $report_value
      (i32.const 0x100)
      (call $get_header (i32.const 0) (i32.const 0x120) (i32.const 5) (i32.const 0) (i32.const 4)))
    (call $report_value
      (i32.const 0xc0)
      (call $get_header (i32.const 0) (i32.const 0xe0) (i32.const 9) (i32.const 0) (i32.const 4)))
    (call $report (i32.const 0xa0) (call $clear_route_cache))
    (call $report (i32.const 0x60) (call $continue_request))
    (i32.const 1))

  (func (export "proxy_on_response_headers") (param $context i32) (param $headers i32) (result i32)
    (call $report (i32.const 0x80) (call $continue_response))
    (i32.const 1))

  ;; Logs "NAME STATUS", followed by "[VALUE]" from the slots at 0 and 4 if the status is 0.
  (func $report_value (param $name i32) (param $status i32)
    (if (local.get $status)
      (then
        (call $report (local.get $name) (local.get $status))
        (return)))
    (call $text (local.get $name))
    (call $char (i32.const 32))
    (call $char (i32.const 48))
    (call $char (i32.const 32))
    (call $char (i32.const 91))
    (call $bytes (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (call $char (i32.const 93))
    (call $end))

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
