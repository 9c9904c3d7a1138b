// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/support/paths.h"

namespace cwasi::test {

std::filesystem::path SourceFolder() {
  return CWASI_SOURCE_DIR;
}

std::filesystem::path BinFolder() {
  return CWASI_BIN_DIR;
}

std::filesystem::path GuestFolder() {
  return CWASI_GUEST_DIR;
}

}  // namespace cwasi::test
