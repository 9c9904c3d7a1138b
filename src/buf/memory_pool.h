// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// MemoryPool: address space of guest memories that have ended, kept for the next ones. Reserving
// and unmapping 4 GiB and its guard takes five system calls, more than the rest of a fresh
// instance.

#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "buf/budget.h"
#include "os/mapping.h"

namespace cwasi::buf {

// The address space of one guest memory. Its first `accessible_bytes` are private, readable,
// writable and zero; the rest is reserved.
struct MemoryRegion {
  os::Mapping mapping;
  Reservation mappings;  // Its share of the budget of mappings.
  std::size_t accessible_bytes = 0;
};

// Thread: the worker's guest thread.
class MemoryPool {
 public:
  // Idle regions that are kept. Each holds at most kMaxKeptPages pages.
  static constexpr std::size_t kMaxIdle = 16;
  static constexpr std::size_t kMaxKeptPages = 64;

  // A region of exactly that much address space with at most `initial_bytes` accessible, if there
  // is one.
  std::optional<MemoryRegion> Take(std::size_t size_bytes, std::size_t initial_bytes);

  // Makes the region as new and keeps it, or unmaps it. Nothing but private memory lies in it.
  // `in_place`: the accessible part is still one mapping, so that its few pages may be zeroed and
  // stay.
  void GiveBack(MemoryRegion region, bool in_place);

  void DropIdle() { idle_.clear(); }
  [[nodiscard]] std::size_t Idle() const { return idle_.size(); }

 private:
  std::vector<MemoryRegion> idle_;  // Latest last.
};

}  // namespace cwasi::buf
