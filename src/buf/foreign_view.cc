// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/foreign_view.h"

#include <string>
#include <utility>

#include "buf/memfd_check.h"
#include "buf/page_mover.h"
#include "buf/units.h"

namespace cwasi::buf {

Result<ForeignView> ForeignView::Open(UniqueFd fd, std::uint64_t units, Budget& foreign,
                                      Budget& mappings) {
  if (units == 0 || units > kMaxSegmentUnits)
    return Fail(ErrorCode::kInvalidArgument, "a segment of " + std::to_string(units) + " units");
  const std::size_t bytes = units * kUnitBytes;
  // What makes reading safe: the file cannot shrink (SIGBUS), and holes cannot be punched into a
  // file that is sealed against future writes.
  TRY(CheckMemfd(fd.Get(), bytes, MemfdOf::kOtherDomain));
  auto foreign_share = Reservation::Try(foreign, bytes);
  if (!foreign_share.Held())
    return Fail(ErrorCode::kResourceExhausted, "payload memory of other workers: the budget of " +
                                                   std::to_string(foreign.Limit()) +
                                                   " bytes is used up");
  auto mapping_share = Reservation::Try(mappings, 1);
  if (!mapping_share.Held())
    return Fail(ErrorCode::kUnavailable, "payload memory: the budget of " +
                                             std::to_string(mappings.Limit()) +
                                             " mappings is used up");
  TRY_SET(os::Mapping mapping, os::Mapping::Reserve(bytes, kUnitBytes));
  TRY(MapReadOnly(mapping.Base(), bytes, fd.Get()));
  return ForeignView(std::move(mapping), std::move(foreign_share), std::move(mapping_share));
}

Result<std::span<const std::byte>> ForeignView::First(std::size_t bytes) const {
  if (bytes > CapacityBytes())
    return Fail(ErrorCode::kInvalidArgument, std::to_string(bytes) + " bytes of a segment of " +
                                                 std::to_string(CapacityBytes()));
  return std::span<const std::byte>(mapping_.Base(), bytes);
}

Result<> ForeignView::CopyOut(std::byte* to, std::size_t bytes, PayloadMemory& memory) const {
  TRY_SET(const auto from, First(bytes));
  memory.Copy(to, from.data(), bytes);
  return {};
}

}  // namespace cwasi::buf
