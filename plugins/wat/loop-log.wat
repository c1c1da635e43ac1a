;; loop-log: logs a line again and again in the request headers callback, and never returns.
;; Expected: stopped at the deadline, and the client gets 503. How many lines there are depends on how fast an
;; engine is; the host bounds what it keeps of them.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "again")
  (func (export "proxy_abi_version_0_2_1"))
  ;; Never called: this guest asks the host for nothing.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (loop $for_ever
      (drop (call $log (i32.const 2) (i32.const 16) (i32.const 5)))
      (br $for_ever))
    (i32.const 0)))
