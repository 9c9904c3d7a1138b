// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/memory_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "buf/units.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kMaxScannedPages = 4096;  // 16 MiB.

// Zeroes the pages that are in memory, and drops the rest: a page that is not in memory may be
// swapped out. False if there are too many of them or the kernel refuses; then nothing is known.
bool ZeroInPlace(std::byte* base, std::size_t size_bytes) {
  const std::size_t pages = size_bytes / kPageBytes;
  if (pages > kMaxScannedPages) return false;
  std::array<unsigned char, kMaxScannedPages> resident;  // NOLINT(*-member-init): mincore fills it.
  if (::mincore(base, size_bytes, resident.data()) != 0) return false;
  const auto is_resident = [&](std::size_t page) { return (resident[page] & 1U) != 0; };
  std::size_t kept = 0;
  for (std::size_t page = 0; page < pages;) {
    const std::size_t first = page;
    const bool here = is_resident(first);
    while (page < pages && is_resident(page) == here) ++page;
    std::byte* const at = base + first * kPageBytes;
    const std::size_t bytes = (page - first) * kPageBytes;
    if (!here) {
      if (::madvise(at, bytes, MADV_DONTNEED) != 0) return false;
      continue;
    }
    kept += page - first;
    if (kept > MemoryPool::kMaxKeptPages) return false;
    std::memset(at, 0, bytes);
  }
  return true;
}

// As it was reserved: nothing accessible.
bool Reset(const MemoryRegion& region, std::size_t used_bytes) {
  return ::mmap(region.mapping.Base(), used_bytes, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

}  // namespace

std::optional<MemoryRegion> MemoryPool::Take(std::size_t size_bytes, std::size_t initial_bytes) {
  const auto fits = [&](const MemoryRegion& region) {
    return region.mapping.SizeBytes() == size_bytes && region.accessible_bytes <= initial_bytes;
  };
  const auto exact = [&](const MemoryRegion& region) {
    return fits(region) && region.accessible_bytes == initial_bytes;
  };
  auto found = std::find_if(idle_.rbegin(), idle_.rend(), exact);
  if (found == idle_.rend()) found = std::find_if(idle_.rbegin(), idle_.rend(), fits);
  if (found == idle_.rend()) return std::nullopt;
  auto region = std::move(*found);
  idle_.erase(std::next(found).base());
  return region;
}

void MemoryPool::GiveBack(MemoryRegion region, bool in_place) {
  if (idle_.size() == kMaxIdle) idle_.erase(idle_.begin());
  if (!in_place || !ZeroInPlace(region.mapping.Base(), region.accessible_bytes)) {
    if (region.accessible_bytes != 0 && !Reset(region, region.accessible_bytes)) return;
    region.accessible_bytes = 0;
  }
  idle_.push_back(std::move(region));
}

}  // namespace cwasi::buf
