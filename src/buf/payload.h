// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Payload: bytes that belong to the host between two functions, and the means that all payload
// memory of a worker shares.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "buf/budget.h"
#include "buf/guest_memory.h"
#include "buf/memory_pool.h"
#include "buf/page_mover.h"
#include "buf/page_scan.h"
#include "buf/segment_pool.h"
#include "buf/units.h"

namespace cwasi::buf {

// Copies of payload bytes, so that tests and the user's table can count them.
struct CopyCount {
  std::uint64_t copies = 0;
  std::uint64_t bytes = 0;
};

// What broadcasts cost instead of copies.
struct ViewCount {
  std::uint64_t mapped = 0;         // Views made.
  std::uint64_t reused = 0;         // Views that were there from the last time.
  std::uint64_t written_pages = 0;  // Copied page by page by the kernel; where it can be known.
};

enum class MovePolicy : std::uint8_t {
  kAuto,     // Move what is at least as long as the measured crossover.
  kCopyAll,  // Never move; as on a kernel that cannot.
};

// What every payload of one worker and one trust domain shares. Outlives all of them.
// Thread: the worker's guest thread.
class PayloadMemory {
 public:
  struct Options {
    std::size_t memory_bytes = std::size_t{8} << 30;   // For segments and guests' memories.
    std::size_t foreign_bytes = std::size_t{2} << 30;  // For segments of other workers.
    std::size_t mappings = 0;                          // 0: MappingLimit().
    std::size_t max_payload_bytes = kMaxPayloadBytes;
    MovePolicy policy = MovePolicy::kAuto;
    std::optional<MoveAbility> ability;  // Measured if absent.
    PoolOptions pool;
    PageScanner::Use scan = PageScanner::Use::kIfAvailable;
  };
  explicit PayloadMemory(const Options& options);

  [[nodiscard]] SegmentPool& Pool() { return pool_; }
  [[nodiscard]] const SegmentPool& Pool() const { return pool_; }
  [[nodiscard]] Budget& Memory() { return memory_; }
  [[nodiscard]] Budget& Foreign() { return foreign_; }
  [[nodiscard]] Budget& Mappings() { return mappings_; }
  [[nodiscard]] GuestMemory::Means ForGuests() {
    return {.memory = memory_, .mappings = mappings_, .regions = regions_};
  }
  [[nodiscard]] std::size_t MaxPayloadBytes() const { return options_.max_payload_bytes; }
  [[nodiscard]] const MoveSupport& Support() const { return ability_.support; }
  // Payloads of at least this many bytes move; SIZE_MAX if none does.
  [[nodiscard]] std::size_t CrossoverBytes() const { return ability_.crossover_bytes; }
  [[nodiscard]] bool Moves(std::size_t bytes) const { return bytes >= ability_.crossover_bytes; }

  // The only memcpy of payload bytes in the program, but for those into a ring (NoteCopy).
  void Copy(std::byte* to, const std::byte* from, std::size_t bytes) {
    if (bytes == 0) return;
    std::memcpy(to, from, bytes);
    ++copies_.copies;
    copies_.bytes += bytes;
  }
  // A copy that somebody else has made.
  void NoteCopy(std::size_t bytes) {
    ++copies_.copies;
    copies_.bytes += bytes;
  }
  [[nodiscard]] const CopyCount& Copies() const { return copies_; }

  [[nodiscard]] PageScanner& Scanner() { return scanner_; }
  // In a sandbox, where Options::scan finds nothing. Before the first view.
  void SetScanner(PageScanner scanner) { scanner_ = std::move(scanner); }
  [[nodiscard]] ViewCount& Views() { return views_; }

 private:
  Options options_;
  Budget memory_;
  Budget foreign_;
  Budget mappings_;
  SegmentPool pool_;
  MemoryPool regions_;
  MoveAbility ability_;
  CopyCount copies_;
  PageScanner scanner_;
  ViewCount views_;
};

// Move-only. Short payloads lie in the process's heap, long ones in a staged segment.
// Thread: the worker's guest thread.
class Payload {
 public:
  Payload() = default;
  explicit Payload(std::vector<std::byte> bytes) : small_(std::move(bytes)), size_(small_.size()) {}
  // `segment` is staged; the payload is its first `size` bytes.
  Payload(SegmentRef segment, std::size_t size) : segment_(std::move(segment)), size_(size) {}

  // Reads `size` bytes from the file's start, or all of a pipe or socket of unknown size until its
  // end if `size` is not known (kUnknownSize). Straight into the payload's memory. Errors:
  // kInvalidArgument (too long, ended early, not readable), as SegmentPool::Take.
  static constexpr std::size_t kUnknownSize = SIZE_MAX;
  static Result<Payload> ReadFrom(int fd, std::size_t size, PayloadMemory& memory);
  // One copy. Errors: kInvalidArgument (over the limit), as SegmentPool::Take.
  static Result<Payload> CopyOf(std::span<const std::byte> bytes, PayloadMemory& memory);
  // As CopyOf, in a segment of `pool` whatever the length but 0: for a peer of another trust
  // domain.
  static Result<Payload> CopyInto(std::span<const std::byte> bytes, SegmentPool& pool,
                                  PayloadMemory& memory);
  // All of it. Errors: kInvalidArgument with errno (disk full, not writable).
  [[nodiscard]] Result<> WriteTo(int fd) const;

  [[nodiscard]] std::size_t Size() const { return size_; }
  [[nodiscard]] std::span<const std::byte> Bytes() const {
    return {segment_ ? segment_->Data() : small_.data(), size_};
  }
  [[nodiscard]] bool IsSegment() const { return static_cast<bool>(segment_); }
  // Of its segment; null if there is none.
  [[nodiscard]] SegmentHome* Home() const { return segment_.Home(); }
  [[nodiscard]] Segment& SegmentOf() const { return *segment_; }
  // Gives the segment up; the payload is empty after.
  [[nodiscard]] SegmentRef ReleaseSegment() {
    size_ = 0;
    return std::move(segment_);
  }

 private:
  std::vector<std::byte> small_;
  SegmentRef segment_;
  std::size_t size_ = 0;
};

}  // namespace cwasi::buf
