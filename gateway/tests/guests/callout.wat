;; callout: pauses each request that has x-call for callouts, and lets their answers decide.
;;
;; Request headers:
;;   x-call     the upstream; without it nothing is called
;;   x-times    how many calls, to the paths /00, /01, ...; 1 unless given
;;   x-timeout  in milliseconds; 2000 unless given
;;   x-full     if there, calls are POST with a field, fields that are not a plugin's, a body and a trailer
;;   x-loop     if there, each answer is a reason for another call, and the request stays paused
;; With one call its 200 lets the request pass, anything else is 403. With more the answer is 200, and its body how many
;; were 200. A call that is refused counts as one that failed.
;;
;; Logs the status of each call; of each answer `STATUS:BODY:TRAILER t`, or the reason why there is none; at the end the
;; status of choosing the stream.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $set_effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 4)
  ;; 0 and 4: slots for an address and a size; 8: of a call's number and of a code; 16: texts that are made.
  (data (i32.const 0x80) "x-call")
  (data (i32.const 0x90) "x-times")
  (data (i32.const 0xa0) "x-timeout")
  (data (i32.const 0xb0) "x-full")
  (data (i32.const 0xc0) ":status")
  (data (i32.const 0xd0) "t")
  (data (i32.const 0xe0) "hello")
  (data (i32.const 0xf0) "refused")
  (data (i32.const 0x100) "x-loop")
  (data (i32.const 0x200) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\03\00\00\00\0a\00\00\00\09\00\00\00:method\00GET\00:path\00/00\00:authority\00side.test\00")
  (data (i32.const 0x300) "\06\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\03\00\00\00\0a\00\00\00\09\00\00\00\07\00\00\00\01\00\00\00\0a\00\00\00\05\00\00\00\11\00\00\00\04\00\00\00:method\00POST\00:path\00/00\00:authority\00side.test\00x-given\001\00connection\00close\00transfer-encoding\00gzip\00")
  (data (i32.const 0x400) "\01\00\00\00\01\00\00\00\01\00\00\00t\001\00")
  ;; At 0x10000 the stream of each call by its number; at 0x18000 how many answers each stream waits for, at 0x1a000 how
  ;; many were good, at 0x1c000 how many it began with. Values of the host go to 0x20000 and after.
  (global $heap (mut i32) (i32.const 0x20000))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (local.get $size) (i32.const 0x8000)) (then (return (i32.const 0))))
    (if (i32.gt_u (i32.add (global.get $heap) (local.get $size)) (i32.const 0x3f000))
      (then (global.set $heap (i32.const 0x20000))))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func $say (param $text i32) (param $size i32)
    (drop (call $log (i32.const 2) (local.get $text) (local.get $size))))
  (func $say_status (param $letter i32) (param $status i32)
    (i32.store8 (i32.const 16) (local.get $letter))
    (i32.store8 (i32.const 17) (i32.add (i32.const 48) (i32.rem_u (local.get $status) (i32.const 10))))
    (call $say (i32.const 16) (i32.const 2)))
  (func $has (param $name i32) (param $size i32) (result i32)
    (i32.eqz (call $get_header (i32.const 0) (local.get $name) (local.get $size) (i32.const 0) (i32.const 4))))
  ;; A header as a number, or a default.
  (func $number (param $name i32) (param $size i32) (param $number i32) (result i32)
    (local $at i32) (local $end i32)
    (if (i32.eqz (call $has (local.get $name) (local.get $size))) (then (return (local.get $number))))
    (local.set $at (i32.load (i32.const 0)))
    (local.set $end (i32.add (local.get $at) (i32.load (i32.const 4))))
    (local.set $number (i32.const 0))
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (local.get $number))
  (func $of (param $table i32) (param $context i32) (result i32)
    (i32.add (local.get $table) (i32.and (i32.shl (local.get $context) (i32.const 2)) (i32.const 0x1fff))))
  (func $stream_of (param $id i32) (result i32)
    (i32.add (i32.const 0x10000) (i32.and (local.get $id) (i32.const 0x7ffc))))
  ;; Two digits.
  (func $digits (param $at i32) (param $number i32)
    (i32.store8 (local.get $at)
      (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $number) (i32.const 10)) (i32.const 10))))
    (i32.store8 (i32.add (local.get $at) (i32.const 1))
      (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))

  (func $call (param $context i32) (param $number i32) (result i32)
    (local $upstream i32) (local $size i32) (local $timeout i32) (local $status i32)
    (drop (call $has (i32.const 0x80) (i32.const 6)))
    (local.set $upstream (i32.load (i32.const 0)))
    (local.set $size (i32.load (i32.const 4)))
    (local.set $timeout (call $number (i32.const 0xa0) (i32.const 9) (i32.const 2000)))
    (call $digits (i32.const 0x22f) (local.get $number))
    (call $digits (i32.const 0x348) (local.get $number))
    (local.set $status
      (if (result i32) (call $has (i32.const 0xb0) (i32.const 6))
        (then (call $http_call (local.get $upstream) (local.get $size) (i32.const 0x300) (i32.const 146)
          (i32.const 0xe0) (i32.const 5) (i32.const 0x400) (i32.const 16) (local.get $timeout) (i32.const 8)))
        (else (call $http_call (local.get $upstream) (local.get $size) (i32.const 0x200) (i32.const 71)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (local.get $timeout) (i32.const 8)))))
    (call $say_status (i32.const 99) (local.get $status))
    (if (i32.eqz (local.get $status))
      (then (i32.store (call $stream_of (i32.load (i32.const 8))) (local.get $context))))
    (local.get $status))

  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (local $i i32) (local $times i32) (local $pending i32)
    (if (i32.eqz (call $has (i32.const 0x80) (i32.const 6))) (then (return (i32.const 0))))
    (local.set $times (call $number (i32.const 0x90) (i32.const 7) (i32.const 1)))
    (loop $next
      (local.set $pending
        (i32.add (local.get $pending) (i32.eqz (call $call (local.get $context) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $times))))
    (i32.store (call $of (i32.const 0x18000) (local.get $context)) (local.get $pending))
    (i32.store (call $of (i32.const 0x1a000) (local.get $context)) (i32.const 0))
    (i32.store (call $of (i32.const 0x1c000) (local.get $context)) (local.get $times))
    (if (i32.eqz (local.get $pending)) (then (call $decide (local.get $context))))
    (i32.const 1))

  (func (export "proxy_on_http_call_response") (param $root i32) (param $id i32) (param $headers i32)
    (param $body i32) (param $trailers i32)
    (local $context i32) (local $place i32) (local $length i32)
    (local.set $context (i32.load (call $stream_of (local.get $id))))
    (if (local.get $headers)
      (then
        (drop (call $get_header (i32.const 6) (i32.const 0xc0) (i32.const 7) (i32.const 0) (i32.const 4)))
        (i32.store (i32.const 16) (i32.load (i32.load (i32.const 0))))
        (i32.store8 (i32.const 19) (i32.const 58))
        (drop (call $get_buffer (i32.const 4) (i32.const 0) (i32.const 32) (i32.const 0) (i32.const 4)))
        (local.set $length (i32.load (i32.const 4)))
        (memory.copy (i32.const 20) (i32.load (i32.const 0)) (local.get $length))
        (i32.store8 (i32.add (i32.const 20) (local.get $length)) (i32.const 58))
        (local.set $length (i32.add (i32.const 5) (local.get $length)))
        (if (i32.eqz (call $get_header (i32.const 7) (i32.const 0xd0) (i32.const 1) (i32.const 0) (i32.const 4)))
          (then
            (memory.copy (i32.add (i32.const 16) (local.get $length)) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
            (local.set $length (i32.add (local.get $length) (i32.load (i32.const 4))))))
        (call $say (i32.const 16) (local.get $length))
        (if (i32.eq (i32.and (i32.load (i32.const 16)) (i32.const 0xffffff)) (i32.const 0x303032))
          (then
            (local.set $place (call $of (i32.const 0x1a000) (local.get $context)))
            (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1))))))
      (else
        (drop (call $get_status (i32.const 8) (i32.const 0) (i32.const 4)))
        (call $say (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
    (local.set $place (call $of (i32.const 0x18000) (local.get $context)))
    (i32.store (local.get $place) (i32.sub (i32.load (local.get $place)) (i32.const 1)))
    (if (i32.eqz (i32.load (local.get $place))) (then (call $decide (local.get $context)))))

  (func $decide (param $context i32)
    (local $good i32) (local $status i32)
    (local.set $status (call $set_effective (local.get $context)))
    (call $say_status (i32.const 101) (local.get $status))
    (if (local.get $status) (then (return)))
    (if (call $has (i32.const 0x100) (i32.const 6))
      (then
        (drop (call $call (local.get $context) (i32.const 0)))
        (i32.store (call $of (i32.const 0x18000) (local.get $context)) (i32.const 1))
        (return)))
    (local.set $good (i32.load (call $of (i32.const 0x1a000) (local.get $context))))
    (if (i32.gt_u (i32.load (call $of (i32.const 0x1c000) (local.get $context))) (i32.const 1))
      (then
        (call $digits (i32.const 16) (local.get $good))
        (drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 2) (i32.const 0)
          (i32.const 0) (i32.const -1)))
        (return)))
    (if (local.get $good)
      (then (drop (call $continue (i32.const 0))))
      (else (drop (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0xf0) (i32.const 7)
        (i32.const 0) (i32.const 0) (i32.const -1))))))

  (func (export "proxy_on_done") (param $context i32) (result i32)
    (call $say_status (i32.const 100) (i32.const 0))
    (i32.const 1))
  (func (export "proxy_on_log") (param $context i32) (call $say_status (i32.const 108) (i32.const 0)))
  (func (export "proxy_on_delete") (param $context i32) (call $say_status (i32.const 120) (i32.const 0))))
