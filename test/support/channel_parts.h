// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the tests of a channel send over it.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "ipc/channel.h"
#include "os/memfd.h"

namespace cwasi::test {

inline MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(30));
}

inline UniqueFd SegmentFd(std::uint32_t units) {
  auto fd = os::CreateSealedMemfd("test", units * ipc::kSegmentUnitBytes);
  EXPECT_TRUE(fd);
  return std::move(*fd);
}

inline std::vector<std::byte> Pattern(std::size_t bytes, std::uint64_t seed) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(seed * 31 + i * 7);
  return out;
}

}  // namespace cwasi::test
