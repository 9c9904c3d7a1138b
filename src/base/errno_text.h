// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What an errno means, for a person. strerror(3) is not thread-safe.

#pragma once

#include <string>
#include <system_error>

namespace cwasi {

inline std::string ErrnoText(int error) {
  return std::generic_category().message(error);
}

}  // namespace cwasi
