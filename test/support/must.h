// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#pragma once

#include <optional>
#include <utility>

#include "base/check.h"

namespace cwasi::test {

// The value that a test cannot go on without; ends the program if there is none. For set-up and
// expressions, where ASSERT_TRUE does not fit.
template <class T>
T Must(std::optional<T> value) {
  CHECK(value.has_value());
  return *std::move(value);
}

}  // namespace cwasi::test
