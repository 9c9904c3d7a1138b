// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// CHECK: a broken invariant of ours ends the process. Never for what a guest, a peer, a file or the
// kernel can cause: that is a Result (base/result.h).

#pragma once

namespace cwasi::internal {

// Writes one line to stderr without allocating and aborts. Async-signal-safe.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition) noexcept;

}  // namespace cwasi::internal

#define CHECK(condition)                               \
  (static_cast<bool>(condition) ? static_cast<void>(0) \
                                : ::cwasi::internal::CheckFailed(__FILE__, __LINE__, #condition))
