;; Adds the trailer `x-sum: 7` to each body, where its end is shown.
(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-sum7")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func $add_at (param $end i32) (param $map i32)
    (if (local.get $end)
      (then
        (drop (call $add (local.get $map) (i32.const 16) (i32.const 5) (i32.const 21) (i32.const 1))))))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (call $add_at (local.get 2) (i32.const 1))
    (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (call $add_at (local.get 2) (i32.const 3))
    (i32.const 0)))
