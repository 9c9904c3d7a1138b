// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Values that a benchmark cannot do without: a figure for a failure is worse than no figure.

#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>

#include "base/result.h"

namespace cwasi::bench {

[[noreturn]] inline void Stop(const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why.c_str());
  std::exit(1);
}

// Says why and ends the process if there is no value.
template <class T>
T Expect(Result<T> result) {
  if (!result) Stop(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace cwasi::bench
