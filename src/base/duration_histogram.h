// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How long something took, each time: enough for quantiles, and several of them add up to one.
//
// Thread: the one that owns it.

#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace cwasi {

// Counts of durations in buckets of at most 1/16 relative width. Fixed size, no allocation.
class DurationHistogram {
 public:
  static constexpr std::size_t kSteps = 16;
  static constexpr std::size_t kBuckets = 40 * kSteps;  // To about 2^42 ns, over an hour.

  void Add(MonotonicNs duration) {
    ++counts_[BucketOf(duration)];
    ++total_;
  }
  // What another histogram counted. `bucket` is below kBuckets.
  void AddBucket(std::size_t bucket, std::uint64_t count) {
    counts_[bucket] += count;
    total_ += count;
  }
  [[nodiscard]] std::uint64_t Count(std::size_t bucket) const { return counts_[bucket]; }
  [[nodiscard]] std::uint64_t Total() const { return total_; }
  // The upper end of the bucket that holds the quantile, 0 < q <= 1. 0 if there are no samples.
  [[nodiscard]] MonotonicNs Quantile(double q) const {
    if (total_ == 0) return 0;
    auto rank = static_cast<std::uint64_t>(std::llround(q * static_cast<double>(total_)));
    rank = rank == 0 ? 1 : rank;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= rank) return UpperEnd(i);
    }
    return UpperEnd(counts_.size() - 1);
  }

  static constexpr std::size_t BucketOf(MonotonicNs duration) {
    const auto d = static_cast<std::uint64_t>(duration < 0 ? 0 : duration);
    if (d < 2 * kSteps) return d;
    const auto exponent = static_cast<std::size_t>(std::bit_width(d)) - 1;  // At least 5.
    const std::size_t step = (d >> (exponent - 4)) & (kSteps - 1);
    const std::size_t bucket = (exponent - 3) * kSteps + step;
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  static constexpr MonotonicNs UpperEnd(std::size_t bucket) {
    if (bucket < 2 * kSteps) return static_cast<MonotonicNs>(bucket);
    const std::size_t exponent = bucket / kSteps + 3;
    return static_cast<MonotonicNs>(((kSteps + bucket % kSteps + 1) << (exponent - 4)) - 1);
  }

 private:
  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t total_ = 0;
};

}  // namespace cwasi
