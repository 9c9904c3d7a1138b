// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/budget.h"

#include <fstream>

namespace cwasi::buf {

std::size_t MappingLimit() {
  std::size_t count = 0;
  std::ifstream file("/proc/sys/vm/max_map_count");
  if (!(file >> count) || count == 0) count = 65530;
  return count / 2;
}

}  // namespace cwasi::buf
