;; grpc: does with gRPC what each request says.
;;
;; Request headers:
;;   x-do       letters, one after the other:
;;              c  calls with the message `hello`
;;              s  starts a stream
;;              m  sends `hello` on the last one
;;              e  sends `hello` on the last one, and its end
;;              h  closes the last one
;;              x  cancels the last one
;;              f  sends 64 KiB on the last one until that is refused; logs `f` and the status
;;              !  traps
;;              p  pauses the request until a message has come, or is answered with 403 and the words of a failure
;;   x-then     what is done when a message has come, a letter as above
;;   x-method   the method, of the service `test.Service`
;;   x-timeout  of calls in milliseconds; 2000 unless given
;;
;; Logs each letter with its status (`:` is 10); of initial metadata the field `i`, of trailing metadata `t`, each
;; message, and at the end `NN:WORDS`. Calls go to `side`, with the metadata `x-given: 1` and `x-bin: AAE=`.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_call"
    (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream" (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $set_effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 4)
  ;; 0 and 4: slots for an address and a size; 8: of a number; 16: texts that are made; 0x400: the method.
  (data (i32.const 0x80) "x-do")
  (data (i32.const 0x90) "x-then")
  (data (i32.const 0xa0) "x-method")
  (data (i32.const 0xb0) "x-timeout")
  (data (i32.const 0xc0) "side")
  (data (i32.const 0xd0) "test.Service")
  (data (i32.const 0xe0) "hello")
  (data (i32.const 0xf0) "i")
  (data (i32.const 0xf8) "t")
  (data (i32.const 0x100) "\02\00\00\00\07\00\00\00\01\00\00\00\05\00\00\00\04\00\00\00x-given\001\00x-bin\00AAE=\00")
  (global $heap (mut i32) (i32.const 0x20000))
  (global $id (mut i32) (i32.const 0))
  (global $then (mut i32) (i32.const 0))
  (global $paused (mut i32) (i32.const 0))
  (global $method (mut i32) (i32.const 0))
  (global $timeout (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (local.get $size) (i32.const 0x18000)) (then (return (i32.const 0))))
    (if (i32.gt_u (i32.add (global.get $heap) (local.get $size)) (i32.const 0x3f000))
      (then (global.set $heap (i32.const 0x20000))))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func $say (param $text i32) (param $size i32)
    (drop (call $log (i32.const 2) (local.get $text) (local.get $size))))
  (func $say_status (param $letter i32) (param $status i32)
    (i32.store8 (i32.const 16) (local.get $letter))
    (i32.store8 (i32.const 17) (i32.add (i32.const 48) (local.get $status)))
    (call $say (i32.const 16) (i32.const 2)))
  ;; Logs what was given, of which at most 100 bytes.
  (func $say_given
    (local $size i32)
    (local.set $size (i32.load (i32.const 4)))
    (if (i32.gt_u (local.get $size) (i32.const 100)) (then (local.set $size (i32.const 100))))
    (call $say (i32.load (i32.const 0)) (local.get $size)))
  (func $has (param $name i32) (param $size i32) (result i32)
    (i32.eqz (call $get_header (i32.const 0) (local.get $name) (local.get $size) (i32.const 0) (i32.const 4))))
  (func $number (result i32)
    (local $at i32) (local $end i32) (local $number i32)
    (local.set $at (i32.load (i32.const 0)))
    (local.set $end (i32.add (local.get $at) (i32.load (i32.const 4))))
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (local.get $number))

  (func $do (param $letter i32) (param $context i32)
    (local $status i32)
    (if (i32.eqz (local.get $letter)) (then (return)))
    (if (i32.eq (local.get $letter) (i32.const 112)) (then (global.set $paused (local.get $context)) (return)))
    (if (i32.eq (local.get $letter) (i32.const 99)) (then
      (local.set $status (call $grpc_call (i32.const 0xc0) (i32.const 4) (i32.const 0xd0) (i32.const 12)
        (i32.const 0x400) (global.get $method) (i32.const 0x100) (i32.const 41) (i32.const 0xe0) (i32.const 5)
        (global.get $timeout) (i32.const 8)))
      (global.set $id (i32.load (i32.const 8)))))
    (if (i32.eq (local.get $letter) (i32.const 115)) (then
      (local.set $status (call $grpc_stream (i32.const 0xc0) (i32.const 4) (i32.const 0xd0) (i32.const 12)
        (i32.const 0x400) (global.get $method) (i32.const 0x100) (i32.const 41) (i32.const 8)))
      (global.set $id (i32.load (i32.const 8)))))
    (if (i32.eq (local.get $letter) (i32.const 109)) (then
      (local.set $status (call $grpc_send (global.get $id) (i32.const 0xe0) (i32.const 5) (i32.const 0)))))
    (if (i32.eq (local.get $letter) (i32.const 101)) (then
      (local.set $status (call $grpc_send (global.get $id) (i32.const 0xe0) (i32.const 5) (i32.const 1)))))
    (if (i32.eq (local.get $letter) (i32.const 104)) (then
      (local.set $status (call $grpc_close (global.get $id)))))
    (if (i32.eq (local.get $letter) (i32.const 120)) (then
      (local.set $status (call $grpc_cancel (global.get $id)))))
    (if (i32.eq (local.get $letter) (i32.const 102)) (then
      (loop $next
        (local.set $status (call $grpc_send (global.get $id) (i32.const 0x10000) (i32.const 0x10000) (i32.const 0)))
        (br_if $next (i32.eqz (local.get $status))))))
    (if (i32.eq (local.get $letter) (i32.const 33)) (then (unreachable)))
    (call $say_status (local.get $letter) (local.get $status)))

  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (local $at i32) (local $last i32)
    (if (i32.eqz (call $has (i32.const 0x80) (i32.const 4))) (then (return (i32.const 0))))
    (drop (call $has (i32.const 0xa0) (i32.const 8)))
    (global.set $method (i32.load (i32.const 4)))
    (memory.copy (i32.const 0x400) (i32.load (i32.const 0)) (global.get $method))
    (global.set $timeout (i32.const 2000))
    (if (call $has (i32.const 0xb0) (i32.const 9)) (then (global.set $timeout (call $number))))
    (global.set $then (i32.const 0))
    (if (call $has (i32.const 0x90) (i32.const 6)) (then (global.set $then (i32.load8_u (i32.load (i32.const 0))))))
    (global.set $paused (i32.const 0))
    (drop (call $has (i32.const 0x80) (i32.const 4)))
    (local.set $at (i32.load (i32.const 0)))
    (local.set $last (i32.add (local.get $at) (i32.load (i32.const 4))))
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $last)) (then
        (call $do (i32.load8_u (local.get $at)) (local.get $context))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next))))
    (i32.ne (global.get $paused) (i32.const 0)))

  (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
    (if (i32.eqz (call $get_header (i32.const 4) (i32.const 0xf0) (i32.const 1) (i32.const 0) (i32.const 4)))
      (then (call $say_given))))
  (func (export "proxy_on_grpc_receive") (param $root i32) (param $id i32) (param $size i32)
    (if (i32.eqz (call $get_buffer (i32.const 5) (i32.const 0) (i32.const 100) (i32.const 0) (i32.const 4)))
      (then (call $say_given)))
    (if (global.get $paused) (then
      (drop (call $set_effective (global.get $paused)))
      (drop (call $continue (i32.const 0)))))
    (call $do (global.get $then) (i32.const 0)))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
    (if (i32.eqz (call $get_header (i32.const 5) (i32.const 0xf8) (i32.const 1) (i32.const 0) (i32.const 4)))
      (then (call $say_given))))
  (func (export "proxy_on_grpc_close") (param $root i32) (param $id i32) (param $code i32)
    (local $size i32)
    (drop (call $get_status (i32.const 8) (i32.const 0) (i32.const 4)))
    (local.set $size (i32.load (i32.const 4)))
    (if (i32.ne (local.get $code) (i32.load (i32.const 8))) (then (unreachable)))
    (i32.store8 (i32.const 16) (i32.add (i32.const 48) (i32.div_u (local.get $code) (i32.const 10))))
    (i32.store8 (i32.const 17) (i32.add (i32.const 48) (i32.rem_u (local.get $code) (i32.const 10))))
    (i32.store8 (i32.const 18) (i32.const 58))
    (memory.copy (i32.const 19) (i32.load (i32.const 0)) (local.get $size))
    (call $say (i32.const 16) (i32.add (local.get $size) (i32.const 3)))
    (if (global.get $paused) (then
      (drop (call $set_effective (global.get $paused)))
      (drop (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 19) (local.get $size)
        (i32.const 0) (i32.const 0) (i32.const -1)))))))
