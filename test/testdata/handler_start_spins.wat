;; A function whose _initialize never ends.
(module
  (memory (export "memory") 1)
  (func (export "_initialize") (loop $again br $again))
  (func (export "cwasi_handle") (param i32 i32) (result i32) i32.const 0))
