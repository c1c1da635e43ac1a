;; exit: calls WASI's proc_exit(3) in the request headers callback.
;; Expected: the instance ends with exit code 3, not with a trap, and the client gets 503.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param $code i32)))

  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  ;; Never called: this guest asks the host for nothing.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (call $exit (i32.const 3))
    ;; Reached only on a host whose proc_exit returns.
    (unreachable)))
