// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// ForeignView: how the taker of another trust domain sees a segment of its giver's (Scope::kEdge
// there): mapped once, read-only, seen by no guest. Every payload is copied out once, since the
// giver's process can go on writing.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "buf/budget.h"
#include "buf/payload.h"
#include "os/mapping.h"

namespace cwasi::buf {

// Thread: the worker's guest thread.
class ForeignView {
 public:
  // Errors: kInvalidArgument (what CheckMemfd refuses; 0 or too many units), kResourceExhausted
  // (`foreign`, address space), kUnavailable (mappings).
  static Result<ForeignView> Open(UniqueFd fd, std::uint64_t units, Budget& foreign,
                                  Budget& mappings);

  [[nodiscard]] std::size_t CapacityBytes() const { return mapping_.SizeBytes(); }

  // The one copy. `to` is memory of this process or its guests, `bytes` long. Errors:
  // kInvalidArgument: more than the capacity; nothing was copied.
  Result<> CopyOut(std::byte* to, std::size_t bytes, PayloadMemory& memory) const;

  // For one pass over it: the giver may change it at any time, so no byte may be looked at twice.
  // Errors: as CopyOut.
  [[nodiscard]] Result<std::span<const std::byte>> First(std::size_t bytes) const;

 private:
  ForeignView(os::Mapping mapping, Reservation foreign, Reservation mappings)
      : mapping_(std::move(mapping)),
        foreign_(std::move(foreign)),
        mappings_(std::move(mappings)) {}

  os::Mapping mapping_;
  Reservation foreign_;
  Reservation mappings_;
};

}  // namespace cwasi::buf
