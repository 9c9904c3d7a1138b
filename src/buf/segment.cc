// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "buf/memfd_check.h"
#include "buf/page_mover.h"
#include "buf/units.h"
#include "os/memfd.h"

#ifndef MADV_POPULATE_READ  // Linux 5.14; glibc 2.36 has it.
#define MADV_POPULATE_READ 22
#endif

namespace cwasi::buf {
namespace {

Result<Reservation> Reserve(Budget& memory, std::size_t bytes, const char* what) {
  auto share = Reservation::Try(memory, bytes);
  if (!share.Held())
    return Fail(ErrorCode::kResourceExhausted, std::string(what) + ": the budget of " +
                                                   std::to_string(memory.Limit()) +
                                                   " bytes is used up");
  return share;
}

Result<Reservation> ReserveMappings(Budget& mappings) {
  auto mapping_share = Reservation::Try(mappings, kMappingsPerSegment);
  if (!mapping_share.Held())
    return Fail(ErrorCode::kUnavailable, "payload memory: the budget of " +
                                             std::to_string(mappings.Limit()) +
                                             " mappings is used up");
  return mapping_share;
}

}  // namespace

Result<std::unique_ptr<Segment>> Segment::Create(std::size_t units, Budget& memory,
                                                 Budget& mappings, Scope scope) {
  CHECK(units > 0 && units <= kMaxSegmentUnits);
  const std::size_t bytes = units * kUnitBytes;
  TRY_SET(Reservation memory_share, Reserve(memory, bytes, "payload memory"));
  TRY_SET(Reservation mapping_share, ReserveMappings(mappings));
  TRY_SET(UniqueFd fd, os::CreateSealedMemfd("cwasi-segment", bytes));
  return Map(std::move(fd), bytes, std::move(memory_share), std::move(mapping_share), scope);
}

Result<std::unique_ptr<Segment>> Segment::Adopt(UniqueFd fd, std::uint64_t units, Budget& foreign,
                                                Budget& mappings) {
  if (units == 0 || units > kMaxSegmentUnits)
    return Fail(ErrorCode::kInvalidArgument, "a segment of " + std::to_string(units) + " units");
  const std::size_t bytes = units * kUnitBytes;
  TRY(CheckMemfd(fd.Get(), bytes, MemfdOf::kDomain));
  TRY_SET(Reservation foreign_share, Reserve(foreign, bytes, "payload memory of other workers"));
  TRY_SET(Reservation mapping_share, ReserveMappings(mappings));
  return Map(std::move(fd), bytes, std::move(foreign_share), std::move(mapping_share),
             Scope::kDomain);
}

Result<std::unique_ptr<Segment>> Segment::Map(UniqueFd fd, std::size_t bytes, Reservation memory,
                                              Reservation mappings, Scope scope) {
  TRY_SET(os::Mapping staging, os::Mapping::Reserve(bytes, kUnitBytes));
  TRY(MapShared(staging.Base(), bytes, fd.Get()));
  return std::unique_ptr<Segment>(new Segment(std::move(fd), std::move(staging), std::move(memory),
                                              std::move(mappings), scope));
}

Segment::Segment(UniqueFd fd, os::Mapping staging, Reservation memory, Reservation mappings,
                 Scope scope)
    : fd_(std::move(fd)),
      staging_(std::move(staging)),
      memory_(std::move(memory)),
      mappings_(std::move(mappings)),
      place_(staging_.Base()),
      scope_(scope) {}

Segment::~Segment() {
  // A window that still shows a segment would outlive the budget that paid for it.
  CHECK(IsStaged());
}

Result<> Segment::MoveTo(std::byte* window) {
  CHECK(window != place_ && window != staging_.Base());
  std::byte* const from = place_;
  if (auto moved = MovePages(from, window, CapacityBytes()); !moved) {
    // The kernel may have unmapped the target before it gave up (mm/mremap.c, mremap_to).
    if (auto repaired = MapPrivate(window, CapacityBytes()); !repaired)
      EndDamagedProcess("closing a hole in a guest's memory", repaired.error().sys_errno);
    return tl::unexpected(std::move(moved).error());
  }
  place_ = window;
  // The staging area stays a mapping of the file; a giver's window must not.
  if (from != staging_.Base()) {
    if (auto fresh = MapPrivate(from, CapacityBytes()); !fresh)
      EndDamagedProcess("taking a payload from its giver", fresh.error().sys_errno);
  }
  return {};
}

void Segment::Stage() {
  if (IsStaged()) return;
  std::byte* const from = std::exchange(place_, staging_.Base());
  if (!MovePages(from, staging_.Base(), CapacityBytes())) {
    // Not by a new mapping of the file: it may be sealed against those (DescriptorForPeer).
    populated_bytes_ = 0;
    if (auto repaired = DuplicateShared(from, staging_.Base(), CapacityBytes()); !repaired)
      EndDamagedProcess("mapping a segment's staging area again", repaired.error().sys_errno);
  }
  if (auto fresh = MapPrivate(from, CapacityBytes()); !fresh)
    EndDamagedProcess("taking a payload from its giver", fresh.error().sys_errno);
}

void Segment::NotePopulated(std::size_t bytes) {
  populated_bytes_ = std::max(populated_bytes_, std::min(bytes, CapacityBytes()));
}

void Segment::Populate(std::size_t bytes) {
  const std::size_t first = populated_bytes_ / kPageBytes * kPageBytes;
  NotePopulated(bytes);
  if (populated_bytes_ <= first) return;
  // READ also for what will be written: it maps 16 pages a fault where they are in the file
  // already, writable ones, since no file system waits to hear of writes to a memfd.
  ::madvise(place_ + first, RoundUp(populated_bytes_ - first, kPageBytes), MADV_POPULATE_READ);
}

Result<> Segment::MapView(std::byte* window, std::size_t bytes) const {
  CHECK(IsStaged() && bytes <= CapacityBytes());
  return MapCopyOnWrite(window, bytes, fd_.Get());
}

int Segment::DescriptorForDomain() {
  CHECK(scope_ == Scope::kDomain);
  has_left_ = true;
  return fd_.Get();
}

Result<int> Segment::DescriptorForPeer(std::size_t bytes) {
  CHECK(scope_ == Scope::kEdge && IsStaged() && bytes <= CapacityBytes());
  ZeroFrom(bytes);
  if (!has_left_ && ::fcntl(fd_.Get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    return Fail(ErrorCode::kUnavailable, "seal a segment for another trust domain", errno);
  has_left_ = true;
  has_undisclosed_bytes_ = false;
  return fd_.Get();
}

void Segment::HideUndisclosed() {
  CHECK(IsStaged());
  if (std::exchange(has_undisclosed_bytes_, false)) ZeroFrom(0);
}

// Writes only where the file has pages: elsewhere it is zero, and a page would cost memory. (Pages
// cannot be punched out once the file is sealed.)
void Segment::ZeroFrom(std::size_t first) {
  const std::size_t end = CapacityBytes();
  while (first < end) {
    const off_t data = ::lseek(fd_.Get(), static_cast<off_t>(first), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return;  // No page from here on.
    const off_t hole = data < 0 ? -1 : ::lseek(fd_.Get(), data, SEEK_HOLE);
    // Where the kernel cannot say, everything is written.
    const std::size_t from = data < 0 ? first : static_cast<std::size_t>(data);
    const std::size_t to = hole < 0 ? end : static_cast<std::size_t>(hole);
    std::memset(staging_.Base() + from, 0, to - from);
    first = to;
  }
}

}  // namespace cwasi::buf
