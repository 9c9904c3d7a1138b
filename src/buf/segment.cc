// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/segment.h"

#include <utility>

#include "base/check.h"
#include "buf/page_mover.h"
#include "buf/units.h"
#include "os/memfd.h"

namespace cwasi::buf {

Result<std::unique_ptr<Segment>> Segment::Create(std::size_t units, Budget& memory,
                                                 Budget& mappings) {
  CHECK(units > 0);
  const std::size_t bytes = units * kUnitBytes;
  auto memory_share = Reservation::Try(memory, bytes);
  if (!memory_share.Held())
    return Fail(
        ErrorCode::kResourceExhausted,
        "payload memory: the budget of " + std::to_string(memory.Limit()) + " bytes is used up");
  auto mapping_share = Reservation::Try(mappings, kMappingsPerSegment);
  if (!mapping_share.Held())
    return Fail(ErrorCode::kUnavailable, "payload memory: the budget of " +
                                             std::to_string(mappings.Limit()) +
                                             " mappings is used up");
  TRY_SET(UniqueFd fd, os::CreateSealedMemfd("cwasi-segment", bytes));
  TRY_SET(os::Mapping staging, os::Mapping::Reserve(bytes, kUnitBytes));
  TRY(MapShared(staging.Base(), bytes, fd.Get()));
  return std::unique_ptr<Segment>(new Segment(std::move(fd), std::move(staging),
                                              std::move(memory_share), std::move(mapping_share)));
}

Segment::Segment(UniqueFd fd, os::Mapping staging, Reservation memory, Reservation mappings)
    : fd_(std::move(fd)),
      staging_(std::move(staging)),
      memory_(std::move(memory)),
      mappings_(std::move(mappings)),
      place_(staging_.Base()) {}

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
    if (auto repaired = MapShared(staging_.Base(), CapacityBytes(), fd_.Get()); !repaired)
      EndDamagedProcess("mapping a segment's staging area again", repaired.error().sys_errno);
  }
  if (auto fresh = MapPrivate(from, CapacityBytes()); !fresh)
    EndDamagedProcess("taking a payload from its giver", fresh.error().sys_errno);
}

}  // namespace cwasi::buf
