;; grow-trap: takes 1 MiB more memory again and again in the request headers callback and writes into it,
;; until the host refuses more; then it traps, as most allocators do.
;; Expected: memory stays within the limit, the instance ends, and the client gets 503.
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  ;; Never called: this guest asks the host for nothing.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    (local $old_pages i32)
    (loop $more
      (local.set $old_pages (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $old_pages) (i32.const -1))
        (then
          (unreachable)))
      (call $touch (i32.mul (local.get $old_pages) (i32.const 65536)))
      (br $more))
    (i32.const 0))

  ;; Writes into each 4 KiB of the 16 pages at $at: untouched memory may cost the host nothing.
  (func $touch (param $at i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (i32.const 1048576)))
    (loop $next
      (i32.store (local.get $at) (i32.const 0x5a5a5a5a))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))))
