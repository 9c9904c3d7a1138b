// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/check.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace cwasi::internal {

void CheckFailed(const char* file, int line, const char* condition) noexcept {
  std::array<char, 512> text{};
  const int length = std::snprintf(text.data(), text.size(), "cwasi: %s:%d: CHECK(%s) failed\n",
                                   file, line, condition);
  if (length > 0) {
    const auto size = static_cast<std::size_t>(length);
    // Nothing useful is left to do when stderr is gone; the abort tells.
    [[maybe_unused]] const auto ignored =
        ::write(STDERR_FILENO, text.data(), size < text.size() ? size : text.size() - 1);
  }
  std::abort();
}

}  // namespace cwasi::internal
