// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/duration_histogram.h"

#include <gtest/gtest.h>

namespace cwasi {
namespace {

TEST(DurationHistogramTest, BucketsAreInOrderAndAtMostASixteenthWide) {
  std::size_t last = 0;
  for (MonotonicNs d = 0; d < 4'000'000'000'000; d += 1 + d / 40) {
    const std::size_t bucket = DurationHistogram::BucketOf(d);
    ASSERT_GE(bucket, last) << d;
    ASSERT_GE(DurationHistogram::UpperEnd(bucket), d) << d;
    ASSERT_LE(DurationHistogram::UpperEnd(bucket), d + d / 16) << d;
    last = bucket;
  }
}

TEST(DurationHistogramTest, FindsQuantiles) {
  DurationHistogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), 0);
  for (MonotonicNs d = 1; d <= 1000; ++d) histogram.Add(d * 1000);
  EXPECT_NEAR(static_cast<double>(histogram.Quantile(0.5)), 500e3, 500e3 / 16);
  EXPECT_NEAR(static_cast<double>(histogram.Quantile(0.99)), 990e3, 990e3 / 16);
  EXPECT_GE(histogram.Quantile(1), 1'000'000);
  EXPECT_EQ(histogram.Total(), 1000U);
}

TEST(DurationHistogramTest, TakesWhatIsOffTheScale) {
  DurationHistogram histogram;
  histogram.Add(-5);
  histogram.Add(INT64_MAX);
  EXPECT_EQ(histogram.Quantile(0.5), 0);
  EXPECT_GT(histogram.Quantile(1), 3'600'000'000'000);
}

TEST(DurationHistogramTest, CountsOfSeveralAddUp) {
  DurationHistogram all;
  DurationHistogram sum;
  for (int part = 0; part < 3; ++part) {
    DurationHistogram mine;
    for (MonotonicNs d = 1; d <= 100; ++d) {
      mine.Add(d * 700 * (part + 1));
      all.Add(d * 700 * (part + 1));
    }
    for (std::size_t i = 0; i < DurationHistogram::kBuckets; ++i) sum.AddBucket(i, mine.Count(i));
  }
  EXPECT_EQ(sum.Total(), 300U);
  for (const double q : {0.1, 0.5, 0.99, 1.0}) EXPECT_EQ(sum.Quantile(q), all.Quantile(q));
}

}  // namespace
}  // namespace cwasi
