;; no-memory: has a memory, but does not export it; all else is in order.
;; Expected: refused at load.
(module
  (memory 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0)))
