// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// GuestMemory: the linear memory of one instance: private zero pages that grow in place inside one
// reservation. Every page below SizeBytes() is mapped, readable and writable, at all times (design
// 1, rule 2; the engine's bulk operations and our own host functions run over it without asking).

#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "buf/budget.h"
#include "buf/memory_pool.h"

namespace cwasi::buf {

// Mappings of one guest memory: accessible part and the rest of the reservation.
inline constexpr std::size_t kMappingsPerMemory = 2;

// Thread: the worker's guest thread.
class GuestMemory {
 public:
  struct Shape {
    std::size_t reserved_bytes =
        0;  // What accesses without a bounds check can reach, less the guard.
    std::size_t guard_bytes = 0;
    std::size_t initial_bytes = 0;
    std::size_t maximum_bytes = 0;  // By the module.
    std::size_t limit_bytes = 0;    // By policy, for what is the guest's own: arenas come on top.
  };
  // What a memory draws on; all of it outlives the memory.
  struct Means {
    Budget& memory;
    Budget& mappings;
    MemoryPool& regions;
  };
  // Errors: kResourceExhausted (budget, limit, address space), kUnavailable (mapping budget).
  static Result<std::unique_ptr<GuestMemory>> Create(const Shape& shape, const Means& means);
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  GuestMemory(GuestMemory&&) = delete;
  GuestMemory& operator=(GuestMemory&&) = delete;
  // No window is left in it.
  ~GuestMemory();

  // Aligned to kUnitBytes; never moves.
  [[nodiscard]] std::byte* Base() const { return region_.mapping.Base(); }
  [[nodiscard]] std::size_t SizeBytes() const { return size_bytes_; }

  // Errors: kResourceExhausted; nothing has changed.
  Result<> Grow(std::size_t new_size_bytes);

  // Lets the memory grow by `bytes` beyond the policy's limit, for payloads. The worker's budget
  // pays for them like for all others: where no payload lies the guest can fill them with bytes of
  // its own.
  void AllowArena(std::size_t bytes) {
    arena_bytes_ += bytes;
    had_arena_ = true;
  }
  void WithdrawArena(std::size_t bytes) { arena_bytes_ -= bytes; }

 private:
  GuestMemory(const Shape& shape, const Means& means, MemoryRegion region, Reservation memory);
  [[nodiscard]] std::size_t OwnBytes(std::size_t size_bytes) const {
    return size_bytes > arena_bytes_ ? size_bytes - arena_bytes_ : 0;
  }

  Shape shape_;
  MemoryPool& regions_;
  MemoryRegion region_;
  Reservation memory_;
  std::size_t size_bytes_ = 0;
  std::size_t arena_bytes_ = 0;
  std::size_t paid_bytes_ = 0;
  bool had_arena_ = false;  // Windows may have split its mapping.
};

}  // namespace cwasi::buf
