;; script: does in each callback what the request's header x-act says, and logs each callback: 1 if the message ends with
;; what was shown, 0 if not.
;;
;; The header has one letter for each callback, in this order: request headers, body, trailers, response headers, body,
;; trailers, done, log, delete. Missing letters, and any but these, mean continue:
;;   p  pause                                a  answer with 418, body: the configuration; continue if that is refused
;;   e  pause until the end of the body      c  close the stream
;;   k  pause, and continue at once          t  trap
;;   l  loop for ever                        n  ask for the method CONNECT, or the status 204
;;   x  append an x where the body ends      d  delete the body
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue_stream (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close_stream (param i32) (result i32)))

  (memory (export "memory") 2)
  ;; 0 and 4: slots for an address and a size; 8: the digit that is logged.
  (data (i32.const 16) "x-act")
  (data (i32.const 32) ":method")
  (data (i32.const 48) "CONNECT")
  (data (i32.const 64) ":status")
  (data (i32.const 80) "204")

  ;; The configuration, at 0x1000.
  (global $configuration_size (mut i32) (i32.const 0))
  ;; Where the next value goes: the configuration first, then all others to the same place.
  (global $area (mut i32) (i32.const 0x1000))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (select (global.get $area) (i32.const 0) (i32.le_u (local.get $size) (i32.const 0xf000))))

  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (if (local.get $size)
      (then
        (drop (call $get_buffer (i32.const 7) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
        (global.set $configuration_size (i32.load (i32.const 4)))))
    (global.set $area (i32.const 0x10000))
    (i32.const 1))

  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (call $act (i32.const 0) (local.get $end)))
  (func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (call $act (i32.const 1) (local.get $end)))
  (func (export "proxy_on_request_trailers") (param $context i32) (param $count i32) (result i32)
    (call $act (i32.const 2) (i32.const 1)))
  (func (export "proxy_on_response_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (call $act (i32.const 3) (local.get $end)))
  (func (export "proxy_on_response_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (call $act (i32.const 4) (local.get $end)))
  (func (export "proxy_on_response_trailers") (param $context i32) (param $count i32) (result i32)
    (call $act (i32.const 5) (i32.const 1)))
  (func (export "proxy_on_done") (param $context i32) (result i32)
    (drop (call $act (i32.const 6) (i32.const 1)))
    (i32.const 1))
  (func (export "proxy_on_log") (param $context i32)
    (drop (call $act (i32.const 7) (i32.const 1))))
  (func (export "proxy_on_delete") (param $context i32)
    (drop (call $act (i32.const 8) (i32.const 1))))

  (func $act (param $callback i32) (param $end i32) (result i32)
    (local $letter i32)
    (i32.store8 (i32.const 8) (i32.add (i32.const 48) (i32.ne (local.get $end) (i32.const 0))))
    (drop (call $log (i32.const 2) (i32.const 8) (i32.const 1)))
    (local.set $letter (call $letter (local.get $callback)))
    (if (i32.eq (local.get $letter) (i32.const 112)) ;; p
      (then (return (i32.const 1))))
    (if (i32.eq (local.get $letter) (i32.const 101)) ;; e
      (then (return (i32.eqz (local.get $end)))))
    (if (i32.eq (local.get $letter) (i32.const 107)) ;; k
      (then
        (drop (call $continue_stream (i32.ge_u (local.get $callback) (i32.const 3))))
        (return (i32.const 1))))
    (if (i32.eq (local.get $letter) (i32.const 97)) ;; a
      (then
        (return (i32.eqz (call $respond (i32.const 418) (i32.const 0) (i32.const 0)
          (i32.const 0x1000) (global.get $configuration_size) (i32.const 0) (i32.const 0) (i32.const -1))))))
    (if (i32.eq (local.get $letter) (i32.const 99)) ;; c
      (then
        (drop (call $close_stream (i32.const 0)))
        (return (i32.const 1))))
    (if (i32.eq (local.get $letter) (i32.const 116)) ;; t
      (then (unreachable)))
    (if (i32.eq (local.get $letter) (i32.const 108)) ;; l
      (then (loop $for_ever (br $for_ever))))
    (if (i32.and (i32.eq (local.get $letter) (i32.const 120)) (local.get $end)) ;; x
      (then (drop (call $set_buffer (i32.eq (local.get $callback) (i32.const 4))
        (i32.const -1) (i32.const 0) (i32.const 16) (i32.const 1)))))
    (if (i32.eq (local.get $letter) (i32.const 100)) ;; d
      (then (drop (call $set_buffer (i32.eq (local.get $callback) (i32.const 4))
        (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0)))))
    (if (i32.eq (local.get $letter) (i32.const 110)) ;; n
      (then
        (if (i32.lt_u (local.get $callback) (i32.const 3))
          (then (drop (call $replace_header (i32.const 0)
            (i32.const 32) (i32.const 7) (i32.const 48) (i32.const 7))))
          (else (drop (call $replace_header (i32.const 2)
            (i32.const 64) (i32.const 7) (i32.const 80) (i32.const 3)))))))
    (i32.const 0))

  ;; The letter of a callback, 0 if there is none.
  (func $letter (param $callback i32) (result i32)
    (if (call $get_header (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 4))
      (then (return (i32.const 0))))
    (if (i32.ge_u (local.get $callback) (i32.load (i32.const 4)))
      (then (return (i32.const 0))))
    (i32.load8_u (i32.add (i32.load (i32.const 0)) (local.get $callback)))))
