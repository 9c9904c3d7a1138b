// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// SegmentPool: the segments of one trust domain in one worker. A segment is recycled with its
// pages, so that the steady state faults none in: a fresh page costs 1.3 to 2 us, a cold segment of
// 10 MiB 2 to 7 ms (docs/adr/0001).
//
// A recycled segment holds former payloads of the same trust domain, unless Zero::kAlways.

#pragma once

#include <cstddef>
#include <deque>
#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "buf/budget.h"
#include "buf/segment.h"

namespace cwasi::buf {

class SegmentPool;

// Sole owner of a segment taken from a pool; gives it back on destruction. The pool outlives it.
class SegmentRef {
 public:
  SegmentRef() = default;
  SegmentRef(SegmentRef&& other) noexcept;
  SegmentRef& operator=(SegmentRef&& other) noexcept;
  SegmentRef(const SegmentRef&) = delete;
  SegmentRef& operator=(const SegmentRef&) = delete;
  ~SegmentRef() { Reset(); }

  explicit operator bool() const { return segment_ != nullptr; }
  Segment* operator->() const { return segment_.get(); }
  // Stages the segment and gives it back.
  void Reset();

 private:
  friend class SegmentPool;
  SegmentRef(SegmentPool* pool, std::unique_ptr<Segment> segment)
      : pool_(pool), segment_(std::move(segment)) {}
  SegmentPool* pool_ = nullptr;
  std::unique_ptr<Segment> segment_;
};

enum class Zero : std::uint8_t { kNo, kAlways };

struct PoolOptions {
  std::size_t max_idle_bytes = std::size_t{1} << 30;  // Beyond it the longest idle is freed.
  std::chrono::nanoseconds max_idle_age = std::chrono::seconds(10);
};

// Thread: the worker's guest thread.
class SegmentPool {
 public:
  // Both budgets outlive the pool.
  SegmentPool(Budget& memory, Budget& mappings, const PoolOptions& options)
      : memory_(memory), mappings_(mappings), options_(options) {}
  SegmentPool(const SegmentPool&) = delete;
  SegmentPool& operator=(const SegmentPool&) = delete;
  SegmentPool(SegmentPool&&) = delete;
  SegmentPool& operator=(SegmentPool&&) = delete;
  ~SegmentPool();

  // A segment of at least `bytes`, warm if one of about that size is idle; idle ones are freed to
  // make room. With kAlways every byte of it is zero. Errors: as Segment::Create.
  Result<SegmentRef> Take(std::size_t bytes, Zero zero);

  // Frees what has been idle for longer than max_idle_age. A worker calls it when it has nothing to
  // do.
  void Trim(MonotonicNs now);

  // When Trim would next free something; kNoDeadline if nothing is idle.
  [[nodiscard]] MonotonicNs NextTrim() const;

  struct Stats {
    std::size_t in_use = 0;  // Segments out.
    std::size_t idle = 0;    // Segments here.
    std::size_t idle_bytes = 0;
    std::size_t created = 0;   // Cold ones made, ever.
    std::size_t recycled = 0;  // Warm ones given out, ever.
  };
  [[nodiscard]] Stats GetStats() const;

 private:
  friend class SegmentRef;
  struct Idle {
    std::unique_ptr<Segment> segment;
    MonotonicNs since = 0;
  };
  void GiveBack(std::unique_ptr<Segment> segment);
  void DropOldest();

  Budget& memory_;
  Budget& mappings_;
  PoolOptions options_;
  std::deque<Idle> idle_;  // Longest idle first.
  std::size_t idle_bytes_ = 0;
  std::size_t in_use_ = 0;
  std::size_t created_ = 0;
  std::size_t recycled_ = 0;
};

}  // namespace cwasi::buf
