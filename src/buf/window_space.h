// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// WindowSpace: which parts of a guest's memory the host may use for payloads, and which of those
// are taken. Pure bookkeeping over offsets; nothing is mapped or read here.
//
// The guest grants arenas and is not trusted: each is checked in 64 bits against the memory, the
// heap's base and every other arena (design 1, "Arena and window").

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "buf/units.h"

namespace cwasi::buf {

// First-fit allocation of runs of equal blocks.
class BlockMap {
 public:
  explicit BlockMap(std::size_t blocks) : used_(blocks, false), free_(blocks) {}
  // Index of the first block of a free run of `count`.
  std::optional<std::size_t> Allocate(std::size_t count);
  void Free(std::size_t first, std::size_t count);
  // Adds free blocks at the end.
  void Extend(std::size_t count);
  [[nodiscard]] std::size_t FreeBlocks() const { return free_; }
  [[nodiscard]] std::size_t Blocks() const { return used_.size(); }

 private:
  std::vector<bool> used_;
  std::size_t free_;
  std::size_t hint_ = 0;  // No free block lies before it.
};

// Offsets from the memory's base. Thread: one.
class WindowSpace {
 public:
  // Windows below this are pages of a shared unit, from it on they are whole units.
  static constexpr std::size_t kSmallLimitBytes = kUnitBytes / 2;

  // Where the guest's heap begins; 0 if it does not say.
  void SetHeapBase(std::uint32_t heap_base) { heap_base_ = heap_base; }

  // Takes [offset, offset + bytes) as an arena. Errors: kInvalidArgument: not aligned to
  // kUnitBytes, empty, outside [heap base, memory_bytes), or overlapping another arena.
  Result<> AddArena(std::uint64_t offset, std::uint64_t bytes, std::uint64_t memory_bytes);

  // How much to ask the guest for when `bytes` did not fit: geometric, whole units.
  [[nodiscard]] std::size_t NextArenaBytes(std::size_t bytes) const;

  // Offset of a window of at least `bytes`, of whole pages (below kSmallLimitBytes) or whole units.
  // Absent if no arena has room.
  std::optional<std::uint32_t> Allocate(std::size_t bytes);
  // `bytes` as at Allocate.
  void Free(std::uint32_t offset, std::size_t bytes);

  [[nodiscard]] std::size_t ArenaBytes() const { return arena_bytes_; }

 private:
  struct Run {
    std::uint64_t offset = 0;
    std::size_t block_bytes = 0;
    BlockMap blocks;
  };
  static std::optional<std::uint32_t> AllocateIn(std::vector<Run>& runs, std::size_t bytes);
  static Run& RunOf(std::vector<Run>& runs, std::uint32_t offset);

  std::uint32_t heap_base_ = 0;
  std::size_t arena_bytes_ = 0;
  std::vector<Run> arenas_;  // Blocks of one unit.
  std::vector<Run> chunks_;  // Units out of arenas_, in blocks of one page.
};

}  // namespace cwasi::buf
