;; A data segment past the end of the memory: valid, and a trap at instantiation.
(module (memory (export "memory") 1) (data (i32.const 65534) "cwasi"))
