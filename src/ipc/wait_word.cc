// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/wait_word.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cwasi::ipc {

void Wake(const SharedWord& word, WakeScope scope) noexcept {
  const int operation = scope == WakeScope::kProcess ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE;
  // One: a word has one waiter. It fails only for memory that is not mapped.
  ::syscall(SYS_futex, &word, operation, 1, nullptr, nullptr, 0);
}

}  // namespace cwasi::ipc
