// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/segment_pool.h"

#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "buf/units.h"

namespace cwasi::buf {
namespace {

// Eight sizes an octave: a recycled segment fits more requests, and at most an eighth is spare.
std::size_t SizeClass(std::size_t units) {
  if (units <= 8) return units;
  const std::size_t step = std::bit_floor(units - 1) / 8;
  return RoundUp(units, step);
}

}  // namespace

SegmentRef& SegmentRef::operator=(SegmentRef&& other) noexcept {
  if (this != &other) {
    Reset();
    home_ = std::exchange(other.home_, nullptr);
    segment_ = std::move(other.segment_);
  }
  return *this;
}

void SegmentRef::Reset() {
  if (segment_ == nullptr) return;
  segment_->Stage();
  std::exchange(home_, nullptr)->GiveBack(std::move(segment_));
}

void SegmentRef::Abandon() {
  if (segment_ == nullptr) return;
  segment_->Stage();
  std::exchange(home_, nullptr)->Abandon(std::move(segment_));
}

std::unique_ptr<Segment> SegmentRef::Release() {
  CHECK(segment_ == nullptr || segment_->IsStaged());
  home_ = nullptr;
  return std::move(segment_);
}

SegmentPool::~SegmentPool() {
  CHECK(in_use_ == 0);
  Close();
}

void SegmentPool::Close() {
  closed_ = true;
  while (!idle_.empty()) DropOldest();
}

Result<SegmentRef> SegmentPool::Take(std::size_t bytes, Zero zero) {
  CHECK(!closed_);
  const std::size_t units = SizeClass(UnitsFor(bytes));
  const std::size_t wanted = units * kUnitBytes;
  // Latest first: its pages are the likeliest to be in the CPU's caches.
  for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
    if (it->segment->CapacityBytes() != wanted) continue;
    auto segment = std::move(it->segment);
    idle_.erase(std::next(it).base());
    idle_bytes_ -= wanted;
    ++recycled_;
    if (zero == Zero::kAlways) std::memset(segment->Data(), 0, wanted);
    return HandOut(std::move(segment));
  }
  auto segment = Segment::Create(units, memory_, mappings_, scope_);
  while (!segment && !idle_.empty()) {
    DropOldest();
    segment = Segment::Create(units, memory_, mappings_, scope_);
  }
  if (!segment) return tl::unexpected(std::move(segment).error());
  ++created_;
  return HandOut(std::move(*segment));
}

SegmentRef SegmentPool::HandOut(std::unique_ptr<Segment> segment) {
  ++in_use_;
  if (scope_ == Scope::kEdge) segment->NoteWriter();
  return {*this, std::move(segment)};
}

void SegmentPool::GiveBack(std::unique_ptr<Segment> segment) {
  CHECK(in_use_ > 0 && segment->IsStaged());
  --in_use_;
  if (closed_) {
    CloseSegment(std::move(segment));
    return;
  }
  segment->HideUndisclosed();
  idle_bytes_ += segment->CapacityBytes();
  idle_.push_back({std::move(segment), FastNow()});
  while (idle_bytes_ > options_.max_idle_bytes) DropOldest();
}

void SegmentPool::Abandon(std::unique_ptr<Segment> segment) {
  CHECK(in_use_ > 0 && segment->IsStaged());
  --in_use_;
  ++abandoned_;
  CloseSegment(std::move(segment));
}

void SegmentPool::CloseSegment(std::unique_ptr<Segment> segment) {
  if (watcher_ != nullptr && segment->HasLeft()) watcher_->Closing(*segment);
}

void SegmentPool::DropOldest() {
  auto segment = std::move(idle_.front().segment);
  idle_.pop_front();
  idle_bytes_ -= segment->CapacityBytes();
  CloseSegment(std::move(segment));
}

void SegmentPool::Trim(MonotonicNs now) {
  while (!idle_.empty() && NextTrim() <= now) DropOldest();
}

MonotonicNs SegmentPool::NextTrim() const {
  return idle_.empty() ? kNoDeadline : DeadlineAfter(idle_.front().since, options_.max_idle_age);
}

SegmentPool::Stats SegmentPool::GetStats() const {
  return {.in_use = in_use_,
          .idle = idle_.size(),
          .idle_bytes = idle_bytes_,
          .created = created_,
          .recycled = recycled_,
          .abandoned = abandoned_};
}

}  // namespace cwasi::buf
