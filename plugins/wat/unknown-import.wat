;; unknown-import: imports two functions that no host has, from two modules, beside one that it has.
;; Expected: refused at load with both names.
(module
  (import "env" "no_such" (func $no_such (param i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "elsewhere" "not_here" (func $not_here (param i64)))

  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0)))
