;; A function that wants what nobody provides.
(module
  (import "env" "alpha" (func (param i32)))
  (import "env" "beta" (func (result i64)))
  (import "cwasi" "respond" (func (param i32)))
  (memory (export "memory") 1)
  (func (export "cwasi_handle") (param i32 i32) (result i32) i32.const 0))
