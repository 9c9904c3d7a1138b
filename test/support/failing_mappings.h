// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Makes the n-th mremap or fixed mmap of the calling thread fail, by seccomp's user notification:
// the real system call does not happen, as if the kernel had run out of memory.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace cwasi::test {

enum class Damage : std::uint8_t {
  kNone,            // The call fails and has done nothing.
  kTargetUnmapped,  // As mremap may: it has unmapped the target before it fails.
};

struct ChildResult {
  bool exited = false;
  int code = 0;           // Exit code, or the signal.
  std::size_t calls = 0;  // Filtered system calls seen in [from, from + bytes).
  bool injected = false;
};

// Forks; the child runs `body` with its `nth` (1 is the first) filtered call whose target lies in
// [from, from + bytes) failing with ENOMEM, and exits with what it returns.
ChildResult RunWithFailingMapping(const std::byte* from, std::size_t bytes, std::size_t nth,
                                  Damage damage, const std::function<int()>& body);

}  // namespace cwasi::test
