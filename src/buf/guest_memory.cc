// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/guest_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "buf/units.h"

namespace cwasi::buf {

namespace {

Result<MemoryRegion> TakeRegion(const GuestMemory::Shape& shape, const GuestMemory::Means& means) {
  const std::size_t bytes = shape.reserved_bytes + shape.guard_bytes;
  if (auto idle = means.regions.Take(bytes, shape.initial_bytes)) return std::move(*idle);
  auto mappings = Reservation::Try(means.mappings, kMappingsPerMemory);
  if (!mappings.Held() && means.regions.Idle() != 0) {
    means.regions.DropIdle();
    mappings = Reservation::Try(means.mappings, kMappingsPerMemory);
  }
  if (!mappings.Held())
    return Fail(ErrorCode::kUnavailable, "guest memory: the budget of " +
                                             std::to_string(means.mappings.Limit()) +
                                             " mappings is used up");
  TRY_SET(os::Mapping mapping, os::Mapping::Reserve(bytes, kUnitBytes));
  return MemoryRegion{.mapping = std::move(mapping), .mappings = std::move(mappings)};
}

}  // namespace

Result<std::unique_ptr<GuestMemory>> GuestMemory::Create(const Shape& shape, const Means& means) {
  auto memory = Reservation::Try(means.memory, 0);
  TRY_SET(MemoryRegion region, TakeRegion(shape, means));
  auto guest = std::unique_ptr<GuestMemory>(
      new GuestMemory(shape, means, std::move(region), std::move(memory)));
  TRY(guest->Grow(shape.initial_bytes));
  return guest;
}

GuestMemory::GuestMemory(const Shape& shape, const Means& means, MemoryRegion region,
                         Reservation memory)
    : shape_(shape),
      regions_(means.regions),
      region_(std::move(region)),
      memory_(std::move(memory)) {}

GuestMemory::~GuestMemory() {
  const bool in_place = !had_arena_ && size_bytes_ == shape_.initial_bytes;
  regions_.GiveBack(std::move(region_), in_place);
}

Result<> GuestMemory::Grow(std::size_t new_size_bytes) {
  if (new_size_bytes <= size_bytes_) return {};
  const std::size_t own = OwnBytes(new_size_bytes);
  if (new_size_bytes > std::min(shape_.reserved_bytes, shape_.maximum_bytes) ||
      own > shape_.limit_bytes)
    return Fail(ErrorCode::kResourceExhausted,
                "grow guest memory to " + std::to_string(new_size_bytes) +
                    " bytes: over its limit (the function's `memory`)",
                ENOMEM);
  const std::size_t owed = new_size_bytes > paid_bytes_ ? new_size_bytes - paid_bytes_ : 0;
  if (!memory_.TryExtend(owed))
    return Fail(ErrorCode::kResourceExhausted,
                "grow guest memory to " + std::to_string(new_size_bytes) +
                    " bytes: the worker's budget is used up",
                ENOMEM);
  paid_bytes_ += owed;
  const std::size_t accessible = region_.accessible_bytes;
  if (new_size_bytes > accessible) {
    if (::mprotect(Base() + accessible, new_size_bytes - accessible, PROT_READ | PROT_WRITE) != 0)
      return Fail(ErrorCode::kResourceExhausted,
                  "grow guest memory to " + std::to_string(new_size_bytes) + " bytes", errno);
    region_.accessible_bytes = new_size_bytes;
  }
  size_bytes_ = new_size_bytes;
  return {};
}

}  // namespace cwasi::buf
