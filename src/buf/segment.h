// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Segment: the memory of one payload, a sealed memfd of whole units. In each process that knows it
// its pages are in one place at a time: the staging area, which only the host sees, or one window
// of one guest.
//
// Design 1: the staging mapping exists for the segment's whole life, so whatever happens to a
// window, the bytes are in the file and the staging area shows them.
//
// Who may see a segment beside this process is fixed when it is made (Scope), and never widened:
// zeroing what others have mapped does not take it back from them (rules 4 and 5).

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "buf/budget.h"
#include "os/mapping.h"

namespace cwasi::buf {

// Mappings that one segment can add: its staging and, in a window, the window and the part of the
// guest's memory that it splits off.
inline constexpr std::size_t kMappingsPerSegment = 3;

enum class Scope : std::uint8_t {
  kDomain,  // Workers of this trust domain; they may write it when it is theirs.
  kEdge,    // One callee or caller of another trust domain, for ever; it may only read.
};

// Thread: the worker's guest thread.
class Segment {
 public:
  // Zero bytes, no pages yet; at most kMaxSegmentUnits. The budgets outlive the segment.
  // Errors: kResourceExhausted (memory budget, descriptors), kUnavailable (mapping budget).
  static Result<std::unique_ptr<Segment>> Create(std::size_t units, Budget& memory,
                                                 Budget& mappings, Scope scope = Scope::kDomain);

  // A segment of another worker of this trust domain, by the descriptor and size that it sent.
  // `foreign` bounds what this worker holds of others (rule 9: the kernel charges it to them).
  // Errors: kInvalidArgument (what CheckMemfd refuses; 0 or too many units), as Create.
  static Result<std::unique_ptr<Segment>> Adopt(UniqueFd fd, std::uint64_t units, Budget& foreign,
                                                Budget& mappings);

  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  Segment(Segment&&) = delete;
  Segment& operator=(Segment&&) = delete;
  ~Segment();

  [[nodiscard]] std::size_t CapacityBytes() const { return staging_.SizeBytes(); }
  [[nodiscard]] Scope GetScope() const { return scope_; }
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

  // The page tables of this process for the first `bytes`, which another worker has written: one
  // call now instead of a fault for every page that a guest then writes (docs/adr/0007). Free when
  // it is known to have been done. A hint: it cannot fail.
  void Populate(std::size_t bytes);
  // The first `bytes` were written here.
  void NotePopulated(std::size_t bytes);

  // Maps the first `bytes` (whole pages) copy-on-write at `window`. Staged, and nobody may write
  // the segment while that lies there. Errors: as MapCopyOnWrite.
  Result<> MapView(std::byte* window, std::size_t bytes) const;

  // The descriptor for another worker of this trust domain. Scope kDomain only.
  [[nodiscard]] int DescriptorForDomain();

  // The descriptor for the one peer of the edge, when the first `bytes` are about to be given.
  // Scope kEdge only, staged. From the first time on nobody gets a new way to write the file, we
  // included: this process writes through the mapping that it has. Bytes beyond `bytes` are zero.
  // To be called at each giving. Errors: kUnavailable: sealing failed; the descriptor must not
  // leave.
  [[nodiscard]] Result<int> DescriptorForPeer(std::size_t bytes);
  // Whether another process was given the descriptor.
  [[nodiscard]] bool HasLeft() const { return has_left_; }

  // Scope kEdge: bytes may lie in it that were never given to the peer.
  void NoteWriter() { has_undisclosed_bytes_ = true; }
  // Zeroes it if that is so. Staged.
  void HideUndisclosed();

 private:
  Segment(UniqueFd fd, os::Mapping staging, Reservation memory, Reservation mappings, Scope scope);
  static Result<std::unique_ptr<Segment>> Map(UniqueFd fd, std::size_t bytes, Reservation memory,
                                              Reservation mappings, Scope scope);
  void ZeroFrom(std::size_t first);

  UniqueFd fd_;
  os::Mapping staging_;
  Reservation memory_;
  Reservation mappings_;
  std::byte* place_;
  std::size_t populated_bytes_ = 0;
  Scope scope_;
  bool has_left_ = false;
  bool has_undisclosed_bytes_ = false;
};

}  // namespace cwasi::buf
