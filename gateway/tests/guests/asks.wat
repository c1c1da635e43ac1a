;; asks: is shown bodies as plugins for APISIX ask for it: that of requests if its configuration begins with b, or with p,
;; when it pauses the request's headers and continues at once; that of responses if it begins with r. Logs each callback:
;; the number of bytes and whether it is the end, one digit each.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue_stream (param i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 1)
  ;; 0 and 4: slots for an address and a size; 8: the digits that are logged.
  (data (i32.const 16) "wasm_process_req_body")
  (data (i32.const 48) "wasm_process_resp_body")
  (data (i32.const 80) "true")
  ;; The first letter of the configuration.
  (global $asks (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) (i32.const 0x1000))

  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (if (local.get $size)
      (then
        (drop (call $get_buffer (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4)))
        (global.set $asks (i32.load8_u (i32.load (i32.const 0))))))
    (i32.const 1))

  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (local $pauses i32)
    (local.set $pauses (i32.eq (global.get $asks) (i32.const 112)))
    (if (i32.or (local.get $pauses) (i32.eq (global.get $asks) (i32.const 98)))
      (then (drop (call $set_property (i32.const 16) (i32.const 21) (i32.const 80) (i32.const 4)))))
    (if (local.get $pauses) (then (drop (call $continue_stream (i32.const 0)))))
    (drop (call $tell (i32.const 0) (local.get $end)))
    (local.get $pauses))
  (func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (call $tell (local.get $size) (local.get $end)))
  (func (export "proxy_on_response_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (if (i32.eq (global.get $asks) (i32.const 114))
      (then (drop (call $set_property (i32.const 48) (i32.const 22) (i32.const 80) (i32.const 4)))))
    (call $tell (i32.const 0) (local.get $end)))
  (func (export "proxy_on_response_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (call $tell (local.get $size) (local.get $end)))

  (func $tell (param $size i32) (param $end i32) (result i32)
    (i32.store8 (i32.const 8) (i32.add (i32.const 48) (local.get $size)))
    (i32.store8 (i32.const 9) (i32.add (i32.const 48) (local.get $end)))
    (drop (call $log (i32.const 2) (i32.const 8) (i32.const 2)))
    (i32.const 0)))
