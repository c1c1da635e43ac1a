;; path: logs the path that a request has, and gives it the one of the header x-path, if there is one.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace_header (param i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 2)
  ;; 0 and 4: slots for an address and a size.
  (data (i32.const 16) ":path")
  (data (i32.const 32) "x-path")

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (select (i32.const 0x10000) (i32.const 0) (i32.le_u (local.get $size) (i32.const 0xf000))))

  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (drop (call $get_header (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 4)))
    (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
    (if (i32.eqz (call $get_header (i32.const 0) (i32.const 32) (i32.const 6) (i32.const 0) (i32.const 4)))
      (then (drop (call $replace_header (i32.const 0) (i32.const 16) (i32.const 5)
        (i32.load (i32.const 0)) (i32.load (i32.const 4))))))
    (i32.const 0))
  (func (export "proxy_on_log") (param $context i32)
    (drop (call $log (i32.const 2) (i32.const 0) (i32.const 0)))))
