;; loop-allocator: asks for a header in the request headers callback, and never returns from the allocator
;; that the host calls to hand the value over.
;; Expected: the deadline of the callback counts inside the allocator too; the client gets 503.
(module
  (import "env" "proxy_get_header_map_value"
    (func $get_header (param $map i32) (param $key i32) (param $key_size i32) (param $value_slot i32)
      (param $size_slot i32) (result i32)))

  (memory (export "memory") 1)
  (data (i32.const 16) ":path")

  (func (export "proxy_abi_version_0_2_1"))

  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (loop $for_ever
      (br $for_ever))
    (i32.const 0))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (drop (call $get_header (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 4)))
    (i32.const 0)))
