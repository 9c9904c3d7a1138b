// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A guest without an engine: a memory with buffers, which grows for each arena as the C SDK does.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "buf/guest_buffers.h"

namespace cwasi::test {

struct GuestWithBuffers : buf::ArenaSource {
  explicit GuestWithBuffers(buf::PayloadMemory& payloads, buf::Zero zero = buf::Zero::kNo) {
    auto made = buf::GuestMemory::Create({.reserved_bytes = std::size_t{4} << 30,
                                          .guard_bytes = buf::kUnitBytes,
                                          .initial_bytes = 65536,
                                          .maximum_bytes = std::size_t{4} << 30,
                                          .limit_bytes = buf::kUnitBytes},
                                         payloads.ForGuests());
    if (!made) std::abort();
    memory = std::move(*made);
    buffers.emplace(*memory, payloads, *this, zero);
  }
  Result<std::uint32_t> RequestArena(std::size_t bytes) override {
    const std::size_t start = buf::RoundUp(memory->SizeBytes(), buf::kUnitBytes);
    TRY(memory->Grow(start + bytes));
    return static_cast<std::uint32_t>(start);
  }
  [[nodiscard]] std::byte* At(std::uint32_t address) const { return memory->Base() + address; }

  std::unique_ptr<buf::GuestMemory> memory;
  std::optional<buf::GuestBuffers> buffers;
};

}  // namespace cwasi::test
