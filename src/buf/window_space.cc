// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/window_space.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace cwasi::buf {

std::optional<std::size_t> BlockMap::Allocate(std::size_t count) {
  CHECK(count > 0);
  if (count > free_) return std::nullopt;
  std::size_t run = 0;
  bool hint_moved = false;
  for (std::size_t i = hint_; i < used_.size(); ++i) {
    if (used_[i]) {
      run = 0;
      continue;
    }
    if (!hint_moved) {
      hint_ = i;
      hint_moved = true;
    }
    if (++run < count) continue;
    const std::size_t first = i + 1 - count;
    std::fill_n(used_.begin() + static_cast<std::ptrdiff_t>(first), count, true);
    free_ -= count;
    return first;
  }
  return std::nullopt;
}

void BlockMap::Free(std::size_t first, std::size_t count) {
  CHECK(first + count <= used_.size());
  for (std::size_t i = first; i < first + count; ++i) {
    CHECK(used_[i]);
    used_[i] = false;
  }
  free_ += count;
  hint_ = std::min(hint_, first);
}

void BlockMap::Extend(std::size_t count) {
  used_.resize(used_.size() + count, false);
  free_ += count;
}

Result<> WindowSpace::AddArena(std::uint64_t offset, std::uint64_t bytes,
                               std::uint64_t memory_bytes) {
  const auto refuse = [&](const char* why) {
    return Fail(ErrorCode::kInvalidArgument, "cabi_realloc gave " + std::to_string(bytes) +
                                                 " bytes at " + std::to_string(offset) +
                                                 " for payloads: " + why);
  };
  if (bytes == 0 || bytes % kUnitBytes != 0) return refuse("not whole units of 2 MiB");
  if (offset % kUnitBytes != 0) return refuse("not aligned to 2 MiB");
  if (offset == 0) return refuse("address 0");
  if (offset > memory_bytes || bytes > memory_bytes - offset) return refuse("outside its memory");
  if (offset < heap_base_) return refuse("below its heap, over its stack or static data");
  for (const Run& arena : arenas_) {
    const std::uint64_t arena_bytes = arena.blocks.Blocks() * kUnitBytes;
    if (offset < arena.offset + arena_bytes && arena.offset < offset + bytes)
      return refuse("overlaps what it gave before");
  }
  arena_bytes_ += bytes;
  // A guest that grows its memory for each arena gives neighbours; together they fit larger
  // windows.
  for (Run& arena : arenas_) {
    if (arena.offset + arena.blocks.Blocks() * kUnitBytes != offset) continue;
    arena.blocks.Extend(bytes / kUnitBytes);
    return {};
  }
  arenas_.push_back({offset, kUnitBytes, BlockMap(bytes / kUnitBytes)});
  return {};
}

std::size_t WindowSpace::NextArenaBytes(std::size_t bytes) const {
  constexpr std::size_t kMaxStepBytes = 64 * kUnitBytes;
  return std::max(RoundUp(bytes, kUnitBytes), std::min(arena_bytes_, kMaxStepBytes));
}

std::optional<std::uint32_t> WindowSpace::AllocateIn(std::vector<Run>& runs, std::size_t bytes) {
  for (Run& run : runs) {
    const std::size_t blocks = (bytes + run.block_bytes - 1) / run.block_bytes;
    if (const auto first = run.blocks.Allocate(blocks))
      return static_cast<std::uint32_t>(run.offset + *first * run.block_bytes);
  }
  return std::nullopt;
}

std::optional<std::uint32_t> WindowSpace::Allocate(std::size_t bytes) {
  CHECK(bytes > 0);
  if (bytes >= kSmallLimitBytes) return AllocateIn(arenas_, bytes);
  if (const auto offset = AllocateIn(chunks_, bytes)) return offset;
  const auto unit = AllocateIn(arenas_, kUnitBytes);
  if (!unit) return std::nullopt;
  chunks_.push_back({*unit, kPageBytes, BlockMap(kUnitBytes / kPageBytes)});
  return AllocateIn(chunks_, bytes);
}

WindowSpace::Run& WindowSpace::RunOf(std::vector<Run>& runs, std::uint32_t offset) {
  const auto run = std::find_if(runs.begin(), runs.end(), [&](const Run& r) {
    return offset >= r.offset && offset < r.offset + r.blocks.Blocks() * r.block_bytes;
  });
  CHECK(run != runs.end());
  return *run;
}

void WindowSpace::Free(std::uint32_t offset, std::size_t bytes) {
  auto& runs = bytes >= kSmallLimitBytes ? arenas_ : chunks_;
  Run& run = RunOf(runs, offset);
  run.blocks.Free((offset - run.offset) / run.block_bytes,
                  (bytes + run.block_bytes - 1) / run.block_bytes);
  if (&runs == &arenas_ || run.blocks.FreeBlocks() != run.blocks.Blocks()) return;
  // An empty chunk becomes a unit for windows again.
  const auto unit = static_cast<std::uint32_t>(run.offset);
  chunks_.erase(chunks_.begin() + (&run - chunks_.data()));
  Free(unit, kUnitBytes);
}

}  // namespace cwasi::buf
