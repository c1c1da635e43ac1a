;; queue: registers the queue `q` if its configuration is not empty, and logs each item that comes into it. Otherwise it puts
;; the path of each request there.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))

  (memory (export "memory") 1)
  ;; 0 and 4: slots for an address and a size; 8: the queue.
  (data (i32.const 16) "q")
  (data (i32.const 24) "consumers")
  (data (i32.const 40) ":path")

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0x1000))

  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (local.get 1) (then (drop (call $register (i32.const 16) (i32.const 1) (i32.const 8)))))
    (i32.const 1))

  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (call $resolve (i32.const 24) (i32.const 9) (i32.const 16) (i32.const 1) (i32.const 8)) (then (unreachable)))
    (drop (call $get_header (i32.const 0) (i32.const 40) (i32.const 5) (i32.const 0) (i32.const 4)))
    (drop (call $enqueue (i32.load (i32.const 8)) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
    (i32.const 0))

  (func (export "proxy_on_queue_ready") (param i32 i32)
    (if (i32.eqz (call $dequeue (local.get 1) (i32.const 0) (i32.const 4)))
      (then (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))))))
