;; recurse: calls itself without end in the request headers callback.
;; Expected: stopped by the limit on call depth, and the client gets 503.
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  ;; Never called: this guest asks the host for nothing.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (drop (call $down (i32.const 0)))
    (i32.const 0))

  ;; The addition comes after the call, so that no engine can turn the call into a jump.
  (func $down (param $depth i32) (result i32)
    (i32.add
      (local.get $depth)
      (call $down (i32.add (local.get $depth) (i32.const 1))))))
