// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// SegmentPool: the segments of one trust domain in one worker; EdgePool: those of one edge into
// another domain. A segment is recycled with its
// pages, so that the steady state faults none in: a fresh page costs 1.3 to 2 us, a cold segment of
// 10 MiB 2 to 7 ms (docs/adr/0001).
//
// A recycled segment holds former payloads of the same trust domain, unless Zero::kAlways.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "buf/budget.h"
#include "buf/segment.h"

namespace cwasi::buf {

// Where a segment goes when whoever held it is done: the pool it came from, or what stands for the
// worker that lent it. Outlives all references to its segments.
class SegmentHome {
 public:
  SegmentHome() = default;
  SegmentHome(const SegmentHome&) = delete;
  SegmentHome& operator=(const SegmentHome&) = delete;
  SegmentHome(SegmentHome&&) = delete;
  SegmentHome& operator=(SegmentHome&&) = delete;
  virtual ~SegmentHome() = default;

  // `segment` is staged; its holder is done with it.
  virtual void GiveBack(std::unique_ptr<Segment> segment) = 0;
  // As GiveBack, but somebody may go on using its memory: it must never hold a payload again.
  virtual void Abandon(std::unique_ptr<Segment> segment) = 0;
};

// Sole owner of a segment while it is in use; gives it back on destruction.
class SegmentRef {
 public:
  SegmentRef() = default;
  // `segment` is staged.
  SegmentRef(SegmentHome& home, std::unique_ptr<Segment> segment)
      : home_(&home), segment_(std::move(segment)) {}
  SegmentRef(SegmentRef&& other) noexcept
      : home_(std::exchange(other.home_, nullptr)), segment_(std::move(other.segment_)) {}
  SegmentRef& operator=(SegmentRef&& other) noexcept;
  SegmentRef(const SegmentRef&) = delete;
  SegmentRef& operator=(const SegmentRef&) = delete;
  ~SegmentRef() { Reset(); }

  explicit operator bool() const { return segment_ != nullptr; }
  Segment* operator->() const { return segment_.get(); }
  [[nodiscard]] Segment& operator*() const { return *segment_; }
  // Null if empty.
  [[nodiscard]] SegmentHome* Home() const { return home_; }

  // Stages the segment and gives it back.
  void Reset();
  // Stages the segment and has it destroyed: it was lent to somebody who may still have it mapped
  // (rule 8).
  void Abandon();
  // For its home alone, which takes it back without hearing of it. Staged; empty if this is.
  [[nodiscard]] std::unique_ptr<Segment> Release();

 private:
  SegmentHome* home_ = nullptr;
  std::unique_ptr<Segment> segment_;
};

// Told when a segment of a pool that other processes may have mapped is about to be closed here, so
// that they can be told to let go of it.
class SegmentWatcher {
 public:
  SegmentWatcher() = default;
  SegmentWatcher(const SegmentWatcher&) = delete;
  SegmentWatcher& operator=(const SegmentWatcher&) = delete;
  SegmentWatcher(SegmentWatcher&&) = delete;
  SegmentWatcher& operator=(SegmentWatcher&&) = delete;
  virtual ~SegmentWatcher() = default;
  // Must not call into the pool.
  virtual void Closing(const Segment& segment) = 0;
};

enum class Zero : std::uint8_t { kNo, kAlways };

struct PoolOptions {
  std::size_t max_idle_bytes = std::size_t{1} << 30;  // Beyond it the longest idle is freed.
  std::chrono::nanoseconds max_idle_age = std::chrono::seconds(10);
};

// Thread: the worker's guest thread.
class SegmentPool : public SegmentHome {
 public:
  // Both budgets outlive the pool.
  SegmentPool(Budget& memory, Budget& mappings, const PoolOptions& options)
      : SegmentPool(memory, mappings, options, Scope::kDomain) {}
  SegmentPool(const SegmentPool&) = delete;
  SegmentPool& operator=(const SegmentPool&) = delete;
  SegmentPool(SegmentPool&&) = delete;
  SegmentPool& operator=(SegmentPool&&) = delete;
  // Nothing is in use.
  ~SegmentPool() override;

  // A segment of at least `bytes`, warm if one of about that size is idle; idle ones are freed to
  // make room. With kAlways every byte of it is zero. Errors: as Segment::Create.
  Result<SegmentRef> Take(std::size_t bytes, Zero zero);

  // `watcher` outlives the pool, or is replaced. Null: nobody is told.
  void SetWatcher(SegmentWatcher* watcher) { watcher_ = watcher; }

  // Frees what is idle; what is in use is freed as it comes back. Take must not be called again.
  void Close();

  // Frees what has been idle for longer than max_idle_age. A worker calls it when it has nothing to
  // do.
  void Trim(MonotonicNs now);

  // When Trim would next free something; kNoDeadline if nothing is idle.
  [[nodiscard]] MonotonicNs NextTrim() const;

  struct Stats {
    std::size_t in_use = 0;  // Segments out.
    std::size_t idle = 0;    // Segments here.
    std::size_t idle_bytes = 0;
    std::size_t created = 0;    // Cold ones made, ever.
    std::size_t recycled = 0;   // Warm ones given out, ever.
    std::size_t abandoned = 0;  // Destroyed while somebody may have used them, ever.
  };
  [[nodiscard]] Stats GetStats() const;

  void GiveBack(std::unique_ptr<Segment> segment) override;
  void Abandon(std::unique_ptr<Segment> segment) override;

 protected:
  SegmentPool(Budget& memory, Budget& mappings, const PoolOptions& options, Scope scope)
      : memory_(memory), mappings_(mappings), options_(options), scope_(scope) {}

 private:
  struct Idle {
    std::unique_ptr<Segment> segment;
    MonotonicNs since = 0;
  };
  SegmentRef HandOut(std::unique_ptr<Segment> segment);
  void DropOldest();
  void CloseSegment(std::unique_ptr<Segment> segment);

  Budget& memory_;
  Budget& mappings_;
  PoolOptions options_;
  Scope scope_;
  SegmentWatcher* watcher_ = nullptr;
  bool closed_ = false;
  std::deque<Idle> idle_;  // Longest idle first.
  std::size_t idle_bytes_ = 0;
  std::size_t in_use_ = 0;
  std::size_t created_ = 0;
  std::size_t recycled_ = 0;
  std::size_t abandoned_ = 0;
};

// The segments of one edge into another trust domain: they serve no other edge, ever, and end with
// it (rule 5). Nothing lies in them that was not given over this edge: what a guest wrote into a
// buffer and then did not give is zeroed before the segment is used again.
class EdgePool final : public SegmentPool {
 public:
  EdgePool(Budget& memory, Budget& mappings, const PoolOptions& options)
      : SegmentPool(memory, mappings, options, Scope::kEdge) {}
};

}  // namespace cwasi::buf
