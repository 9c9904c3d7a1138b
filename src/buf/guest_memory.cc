// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/guest_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "buf/units.h"

namespace cwasi::buf {

Result<std::unique_ptr<GuestMemory>> GuestMemory::Create(const Shape& shape, Budget& memory,
                                                         Budget& mappings) {
  auto memory_share = Reservation::Try(memory, 0);
  auto mapping_share = Reservation::Try(mappings, kMappingsPerMemory);
  if (!mapping_share.Held())
    return Fail(
        ErrorCode::kUnavailable,
        "guest memory: the budget of " + std::to_string(mappings.Limit()) + " mappings is used up");
  TRY_SET(os::Mapping region,
          os::Mapping::Reserve(shape.reserved_bytes + shape.guard_bytes, kUnitBytes));
  auto guest = std::unique_ptr<GuestMemory>(
      new GuestMemory(shape, std::move(region), std::move(memory_share), std::move(mapping_share)));
  TRY(guest->Grow(shape.initial_bytes));
  return guest;
}

GuestMemory::GuestMemory(const Shape& shape, os::Mapping region, Reservation memory,
                         Reservation mappings)
    : shape_(shape),
      region_(std::move(region)),
      memory_(std::move(memory)),
      mappings_(std::move(mappings)) {}

Result<> GuestMemory::Grow(std::size_t new_size_bytes) {
  if (new_size_bytes <= size_bytes_) return {};
  const std::size_t own = OwnBytes(new_size_bytes);
  if (new_size_bytes > std::min(shape_.reserved_bytes, shape_.maximum_bytes) ||
      own > shape_.limit_bytes)
    return Fail(ErrorCode::kResourceExhausted,
                "grow guest memory to " + std::to_string(new_size_bytes) + " bytes: over its limit",
                ENOMEM);
  const std::size_t owed = own > paid_bytes_ ? own - paid_bytes_ : 0;
  if (!memory_.TryExtend(owed))
    return Fail(ErrorCode::kResourceExhausted,
                "grow guest memory to " + std::to_string(new_size_bytes) +
                    " bytes: the worker's budget is used up",
                ENOMEM);
  paid_bytes_ += owed;
  if (::mprotect(region_.Base() + size_bytes_, new_size_bytes - size_bytes_,
                 PROT_READ | PROT_WRITE) != 0)
    return Fail(ErrorCode::kResourceExhausted,
                "grow guest memory to " + std::to_string(new_size_bytes) + " bytes", errno);
  size_bytes_ = new_size_bytes;
  return {};
}

}  // namespace cwasi::buf
