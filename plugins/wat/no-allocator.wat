;; no-allocator: exports neither proxy_on_memory_allocate nor malloc; all else is in order.
;; Expected: refused at load.
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1")))
