// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The sizes that payload memory comes in.

#pragma once

#include <cstddef>
#include <cstdint>

namespace cwasi::buf {

inline constexpr std::size_t kPageBytes = 4096;

// What one page of page tables covers on x86-64 with 4 KiB pages: mremap moves ranges aligned to it
// by relinking whole tables instead of copying entries (mm/mremap.c, move_pgt_entry).
inline constexpr std::size_t kUnitBytes = std::size_t{2} << 20;

// The longest payload (docs/protocols/guest-abi.md, Limits).
inline constexpr std::size_t kMaxPayloadBytes = std::size_t{1} << 30;

// No segment is longer, whoever made it.
inline constexpr std::size_t kMaxSegmentUnits = kMaxPayloadBytes / kUnitBytes;

constexpr std::size_t RoundUp(std::size_t bytes, std::size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}
constexpr std::size_t UnitsFor(std::size_t bytes) {
  return (bytes + kUnitBytes - 1) / kUnitBytes;
}

}  // namespace cwasi::buf
