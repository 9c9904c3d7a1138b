// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Segment: the memory of one payload, a sealed memfd of whole units. Its pages are in one place at
// a time: the staging area, which only the host sees, or one window of one guest.
//
// Design 1: the staging mapping exists for the segment's whole life, so whatever happens to a
// window, the bytes are in the file and the staging area shows them.

#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "buf/budget.h"
#include "os/mapping.h"

namespace cwasi::buf {

// Mappings that one segment can add: its staging and, in a window, the window and the part of the
// guest's memory that it splits off.
inline constexpr std::size_t kMappingsPerSegment = 3;

// Thread: the worker's guest thread.
class Segment {
 public:
  // Zero bytes, no pages yet. The budgets outlive the segment.
  // Errors: kResourceExhausted (memory budget, descriptors), kUnavailable (mapping budget).
  static Result<std::unique_ptr<Segment>> Create(std::size_t units, Budget& memory,
                                                 Budget& mappings);

  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  Segment(Segment&&) = delete;
  Segment& operator=(Segment&&) = delete;
  ~Segment();

  [[nodiscard]] std::size_t CapacityBytes() const { return staging_.SizeBytes(); }
  [[nodiscard]] int Fd() const { return fd_.Get(); }
  // Where the pages are now. Changes with every move.
  [[nodiscard]] std::byte* Data() const { return place_; }
  [[nodiscard]] bool IsStaged() const { return place_ == staging_.Base(); }

  // Moves the pages to `window` (CapacityBytes long, part of a guest's memory whose contents nobody
  // needs) from wherever they are. If that was a window, private zero pages lie there after.
  // Errors: kUnavailable; nothing has changed, but `window` may have lost its old contents.
  // A failure that leaves no sound state ends the process (EndDamagedProcess).
  Result<> MoveTo(std::byte* window);

  // Moves the pages back to the staging area. Never fails: where the pages cannot be moved the
  // window's mapping is replaced, and the staging area will fault them in again from the file.
  void Stage();

 private:
  Segment(UniqueFd fd, os::Mapping staging, Reservation memory, Reservation mappings);

  UniqueFd fd_;
  os::Mapping staging_;
  Reservation memory_;
  Reservation mappings_;
  std::byte* place_;
};

}  // namespace cwasi::buf
