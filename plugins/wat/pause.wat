;; pause: pauses each request in its headers callback and never continues it.
;; Expected: the host answers 503 once its limit on pauses has passed.
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  ;; Never called: this guest asks the host for nothing.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (i32.const 1)))
