;; Its start function traps.
(module
  (func $start (call $deeper))
  (func $deeper unreachable)
  (start $start))
