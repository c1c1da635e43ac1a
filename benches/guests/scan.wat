;; Walks a state machine over the 64 KiB at 0x10000, as often as the second parameter says; how often the word was found.
;; At 0x1000: the next state for each state and byte, 256 bytes a state; state 4 is the end of the word.
;; The table and the data are put in by the program that makes the module from this text.
(module
  (memory (export "memory") 3)
  ;;@DATA
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))
  (func $scan (result i32) (local $at i32) (local $state i32) (local $found i32)
    (local.set $at (i32.const 0x10000))
    (loop $next
      (local.set $state
        (i32.load8_u offset=0x1000
          (i32.or (i32.shl (local.get $state) (i32.const 8)) (i32.load8_u (local.get $at)))))
      (local.set $found (i32.add (local.get $found) (i32.eq (local.get $state) (i32.const 4))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 0x20000))))
    (local.get $found))
  (func (export "proxy_on_request_headers") (param $context i32) (param $times i32) (param $end i32) (result i32)
    (local $last i32)
    (loop $again
      (local.set $last (call $scan))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $last))
  (@custom "chassis.native" "bench"))
