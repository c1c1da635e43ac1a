;; loop-initialize: never returns from `_initialize`.
;; Expected: refused at load, at the deadline for starting.
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  ;; Never called: this guest never gets that far.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0))

  (func (export "_initialize")
    (loop $for_ever
      (br $for_ever))))
