;; What the Wasm sides run: an empty callback, and loops of host calls that a body callback runs as the size of the body says.
(module
  (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $get_pairs (param i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "x-request-id")
  (global $next (mut i32) (i32.const 65536))

  (func (export "proxy_abi_version_0_2_1"))

  ;; A ring of 64 KiB, of which 4 KiB are kept free at the end.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.or (i32.const 65536)
      (i32.and (i32.const 0xeff0) (i32.add (local.get $at) (i32.add (local.get $size) (i32.const 15))))))
    (local.get $at))

  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $set_tick (i32.const 1)))
    (i32.const 1))

  (func (export "proxy_on_tick") (param i32))

  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))

  ;; 1000 host calls of the kind that the body's size names: 1 for one header, 2 for all of them.
  (func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (local $left i32)
    (local $failed i32)
    (local.set $left (i32.const 1000))
    (loop $again
      (local.set $failed (i32.or (local.get $failed)
        (if (result i32) (i32.eq (local.get $size) (i32.const 1))
          (then (call $get_header (i32.const 0) (i32.const 16) (i32.const 12) (i32.const 0) (i32.const 4)))
          (else (call $get_pairs (i32.const 0) (i32.const 0) (i32.const 4))))))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (if (local.get $failed) (then unreachable))
    (i32.const 0)))
