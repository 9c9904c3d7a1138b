;; Its start function never ends.
(module (func $start (loop (br 0))) (start $start))
