// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/page_mover.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/clock.h"
#include "base/errno_text.h"
#include "buf/units.h"
#include "os/mapping.h"
#include "os/memfd.h"

#ifndef MREMAP_DONTUNMAP  // Linux 5.7; glibc 2.36 has it.
#define MREMAP_DONTUNMAP 4
#endif

namespace cwasi::buf {
namespace {

// Two private windows and one segment between them, for probing and measuring.
struct Scratch {
  UniqueFd fd;
  os::Mapping region;  // window A, window B, staging
  std::byte* a = nullptr;
  std::byte* b = nullptr;
  std::byte* staging = nullptr;

  static Result<Scratch> Create() {
    Scratch s;
    TRY_SET(s.fd, os::CreateSealedMemfd("cwasi-probe", kUnitBytes));
    TRY_SET(s.region, os::Mapping::Reserve(3 * kUnitBytes, kUnitBytes));
    s.a = s.region.Base();
    s.b = s.a + kUnitBytes;
    s.staging = s.b + kUnitBytes;
    TRY(MapPrivate(s.a, kUnitBytes));
    TRY(MapPrivate(s.b, kUnitBytes));
    TRY(MapShared(s.staging, kUnitBytes, s.fd.Get()));
    return s;
  }
};

bool AllZero(const std::byte* at, std::size_t size_bytes) {
  return std::all_of(at, at + size_bytes, [](std::byte b) { return b == std::byte{0}; });
}

template <std::size_t N>
MonotonicNs Median(std::array<MonotonicNs, N>& samples) {
  std::nth_element(samples.begin(), samples.begin() + N / 2, samples.end());
  return samples[N / 2];
}

Result<> MapFile(std::byte* at, std::size_t size_bytes, int protection, int flags, int fd) {
  if (::mmap(at, size_bytes, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED)
    return Fail(ErrorCode::kUnavailable, "map a segment", errno);
  // A child must not keep a payload alive and a core file must not hold one. Both are hints to the
  // kernel that cannot fail on a mapping just made, short of the mapping count.
  if (::madvise(at, size_bytes, MADV_DONTFORK) != 0 ||
      ::madvise(at, size_bytes, MADV_DONTDUMP) != 0)
    return Fail(ErrorCode::kUnavailable, "mark a segment's mapping", errno);
  return {};
}

}  // namespace

void EndDamagedProcess(const char* what, int error) noexcept {
  std::array<char, 256> text{};
  const int length = std::snprintf(
      text.data(), text.size(), "cwasi: %s failed (errno %d); ending this worker\n", what, error);
  if (length > 0) {
    [[maybe_unused]] const auto ignored = ::write(
        STDERR_FILENO, text.data(), std::min(static_cast<std::size_t>(length), text.size() - 1));
  }
  ::_exit(kDamagedExitCode);
}

Result<> MovePages(std::byte* from, std::byte* to, std::size_t size_bytes) {
  if (::mremap(from, size_bytes, size_bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
               to) == MAP_FAILED)
    return Fail(ErrorCode::kUnavailable, "move payload pages", errno);
  return {};
}

Result<> MapPrivate(std::byte* at, std::size_t size_bytes) {
  if (::mmap(at, size_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
    return Fail(ErrorCode::kUnavailable, "map private pages", errno);
  return {};
}

Result<> MapShared(std::byte* at, std::size_t size_bytes, int fd) {
  return MapFile(at, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
}

Result<> MapReadOnly(std::byte* at, std::size_t size_bytes, int fd) {
  return MapFile(at, size_bytes, PROT_READ, MAP_SHARED, fd);
}

Result<> MapCopyOnWrite(std::byte* at, std::size_t size_bytes, int fd) {
  auto mapped = MapFile(at, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd);
  if (mapped) return {};
  // It may lie there without its marks.
  if (auto repaired = MapPrivate(at, size_bytes); !repaired)
    EndDamagedProcess("closing a hole in a guest's memory", repaired.error().sys_errno);
  return mapped;
}

void DropPages(std::byte* at, std::size_t size_bytes) {
  if (::madvise(at, size_bytes, MADV_DONTNEED) != 0)
    EndDamagedProcess("dropping the pages of a view", errno);
}

Result<> DuplicateShared(std::byte* from, std::byte* to, std::size_t size_bytes) {
  if (::mremap(from, 0, size_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
    return Fail(ErrorCode::kUnavailable, "map a segment a second time", errno);
  return {};
}

MoveSupport ProbeMoveSupport() {
  auto scratch = Scratch::Create();
  if (!scratch) return {false, scratch.error().message};
  std::memset(scratch->staging, 0x5a, kUnitBytes);
  for (const auto& [from, to] :
       {std::pair(scratch->staging, scratch->a), std::pair(scratch->a, scratch->b)}) {
    if (auto moved = MovePages(from, to, kUnitBytes); !moved)
      return {false, "mremap with MREMAP_DONTUNMAP on shared memory: " +
                         ErrnoText(moved.error().sys_errno) + " (needs Linux 5.13)"};
    if (from != scratch->staging)
      if (auto fresh = MapPrivate(from, kUnitBytes); !fresh) return {false, fresh.error().message};
    if (std::memcmp(to, scratch->staging, kUnitBytes) != 0 || to[0] != std::byte{0x5a})
      return {false, "mremap lost bytes"};
  }
  if (!AllZero(scratch->a, kUnitBytes)) return {false, "the giver still sees what it gave"};
  return {true, ""};
}

std::size_t MeasureCrossoverBytes() {
  auto scratch = Scratch::Create();
  if (!scratch) return 0;
  constexpr std::size_t kCopyBytes = std::size_t{256} << 10;
  std::memset(scratch->staging, 1, kUnitBytes);
  std::memset(scratch->a, 1, kUnitBytes);
  std::array<MonotonicNs, 21> copies{};
  for (auto& sample : copies) {
    const MonotonicNs start = Now();
    std::memcpy(scratch->a, scratch->staging, kCopyBytes);
    sample = Now() - start;
  }
  if (!MovePages(scratch->staging, scratch->a, kUnitBytes)) return 0;
  std::array<MonotonicNs, 21> moves{};
  std::byte* from = scratch->a;
  std::byte* to = scratch->b;
  for (auto& sample : moves) {
    const MonotonicNs start = Now();
    if (!MovePages(from, to, kUnitBytes) || !MapPrivate(from, kUnitBytes)) return 0;
    sample = Now() - start;
    std::swap(from, to);
  }
  const auto copy_ns = std::max<MonotonicNs>(Median(copies), 1);
  const auto bytes =
      static_cast<std::size_t>(Median(moves)) * kCopyBytes / static_cast<std::size_t>(copy_ns);
  return std::clamp(RoundUp(bytes, kPageBytes), std::size_t{64} << 10, kUnitBytes);
}

MoveAbility MeasureMoveAbility() {
  MoveAbility ability{.support = ProbeMoveSupport()};
  if (!ability.support.available) return ability;
  const std::size_t measured = MeasureCrossoverBytes();
  ability.crossover_bytes = measured != 0 ? measured : kUnitBytes;
  return ability;
}

}  // namespace cwasi::buf
