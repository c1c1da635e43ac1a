;; pause-tick: pauses each request in its headers callback; the plugin's timer (10 ms) continues all that wait.
;; Expected: each request is late by up to one tick and otherwise untouched.
(module
  (import "env" "proxy_log"
    (func $log (param $level i32) (param $message i32) (param $size i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick_period (param $ms i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $set_effective_context (param $context i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue_stream (param $stream i32) (result i32)))

  (memory (export "memory") 1)
  (data (i32.const 16) "continued by the timer")
  ;; From 0x1000 on: the ids of the waiting contexts, $waiting of them, 4 bytes each.
  (global $waiting (mut i32) (i32.const 0))
  (global $capacity i32 (i32.const 8192))

  (func (export "proxy_abi_version_0_2_1"))
  ;; Never called: this guest asks the host for nothing.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (i32.const 0))

  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (i32.eqz (call $set_tick_period (i32.const 10))))

  (func (export "proxy_on_request_headers")
    (param $context i32) (param $headers i32) (param $end_of_stream i32) (result i32)
    ;; No room to remember it: let it pass.
    (if (i32.ge_u (global.get $waiting) (global.get $capacity))
      (then (return (i32.const 0))))
    (i32.store (call $slot (global.get $waiting)) (local.get $context))
    (global.set $waiting (i32.add (global.get $waiting) (i32.const 1)))
    (i32.const 1))

  (func (export "proxy_on_tick") (param $context i32)
    (loop $next
      (if (i32.eqz (global.get $waiting))
        (then (return)))
      (global.set $waiting (i32.sub (global.get $waiting) (i32.const 1)))
      (call $continue (i32.load (call $slot (global.get $waiting))))
      (br $next)))

  ;; A stream that ended while it waited is no longer a valid context: nothing to continue then.
  (func $continue (param $context i32)
    (if (call $set_effective_context (local.get $context))
      (then (return)))
    (if (i32.eqz (call $continue_stream (i32.const 0)))
      (then (drop (call $log (i32.const 2) (i32.const 16) (i32.const 22))))))

  (func $slot (param $index i32) (result i32)
    (i32.add (i32.const 0x1000) (i32.mul (local.get $index) (i32.const 4)))))
