// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/page_scan.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "buf/page_mover.h"
#include "buf/units.h"

namespace cwasi::buf {
namespace {

// include/uapi/linux/fs.h of Linux 6.7; Debian 12's headers are older.
// Source: Documentation/admin-guide/mm/pagemap.rst, "Pagemap Scan IOCTL".
struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};
struct ScanArgument {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;  // Out: where it stopped.
  std::uint64_t vec;
  std::uint64_t vec_len;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);
constexpr std::uint64_t kIsFile = 1U << 2U;
constexpr std::uint64_t kIsPresent = 1U << 3U;
constexpr std::uint64_t kIsSwapped = 1U << 4U;

// Each range dropped costs a system call and an interrupt of other CPUs, about as much as mapping
// 16 pages anew: from here on all are dropped at once (docs/adr/0007).
constexpr std::size_t kMaxRanges = 64;

}  // namespace

PageScanner::PageScanner(Use use) : process_(::getpid()) {
  if (use == Use::kIfAvailable)
    pagemap_ = UniqueFd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
}

PageScanner::PageScanner(UniqueFd pagemap) : pagemap_(std::move(pagemap)), process_(::getpid()) {}

bool PageScanner::FindPrivatePages(std::byte* at, std::size_t size_bytes) {
  // After a fork the descriptor still means the parent's memory.
  if (!pagemap_.IsOpen() || process_ != ::getpid()) return false;
  found_.clear();
  std::array<PageRegion, kMaxRanges> regions;  // NOLINT(*-member-init): the kernel fills it.
  ScanArgument scan{};
  scan.size = sizeof scan;
  scan.start = reinterpret_cast<std::uintptr_t>(at);
  scan.end = scan.start + size_bytes;
  scan.vec = reinterpret_cast<std::uintptr_t>(regions.data());
  scan.vec_len = regions.size();
  // Of pages that are somewhere, those that are not the file's.
  scan.category_mask = kIsFile;
  scan.category_inverted = kIsFile;
  scan.category_anyof_mask = kIsPresent | kIsSwapped;
  while (scan.start < scan.end) {
    const int count = ::ioctl(pagemap_.Get(), kPagemapScan, &scan);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 || scan.walk_end <= scan.start) return false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      found_.push_back({at + (regions.at(i).start - reinterpret_cast<std::uintptr_t>(at)),
                        regions.at(i).end - regions.at(i).start});
    scan.start = scan.walk_end;
  }
  return true;
}

std::optional<std::size_t> PageScanner::DropPrivatePages(std::byte* at, std::size_t size_bytes) {
  const bool known = FindPrivatePages(at, size_bytes);
  std::size_t pages = 0;
  if (known)
    for (const Range& range : found_) pages += range.bytes / kPageBytes;
  if (!known || found_.size() > kMaxRanges) {
    DropPages(at, size_bytes);
  } else {
    for (const Range& range : found_) DropPages(range.at, range.bytes);
  }
  if (!known) return std::nullopt;
  return pages;
}

}  // namespace cwasi::buf
