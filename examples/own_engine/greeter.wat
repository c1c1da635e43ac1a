;; A plugin's imports, exports and memory. Its engine runs Rust code in place of the bodies.
(module
  (import "env" "proxy_add_header_map_value" (func (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) unreachable)
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))
