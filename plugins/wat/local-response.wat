;; local-response: a request with the header x-teapot (any value, even an empty one) is answered by the plugin,
;; status 418; every other request passes.
(module
  (import "env" "proxy_get_header_map_value"
    (func $get_header (param $map i32) (param $key i32) (param $key_size i32) (param $value_slot i32)
      (param $size_slot i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param $status i32) (param $details i32) (param $details_size i32) (param $body i32)
      (param $body_size i32) (param $headers i32) (param $headers_size i32) (param $grpc_status i32)
      (result i32)))

  (memory (export "memory") 1)
  ;; 0 and 4: the slots for the header's address and size.
  (data (i32.const 0x20) "x-teapot")
  (data (i32.const 0x40) "teapot")
  (data (i32.const 0x60) "short and stout\n")
  ;; One pair: the count, the sizes of key and value, then both with a NUL each (36 bytes).
  (data (i32.const 0x80) "\01\00\00\00" "\0c\00\00\00" "\0a\00\00\00" "content-type\00" "text/plain\00")

  (func (export "proxy_abi_version_0_2_1"))

  ;; One area at 1024, used again for each value: this guest looks at none of them.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (select
      (i32.const 1024)
      (i32.const 0)
      (i32.le_u (local.get $size) (i32.const 64512))))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (local $status i32)
    (local.set $status
      (call $get_header (i32.const 0) (i32.const 0x20) (i32.const 8) (i32.const 0) (i32.const 4)))
    ;; 1 is NOT_FOUND. A value too large for the area is there as well: its status is 6.
    (if (i32.eq (local.get $status) (i32.const 1))
      (then (return (i32.const 0))))
    (drop (call $respond
      (i32.const 418)
      (i32.const 0x40) (i32.const 6)
      (i32.const 0x60) (i32.const 16)
      (i32.const 0x80) (i32.const 36)
      (i32.const -1)))
    (i32.const 1)))
