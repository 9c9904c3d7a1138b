// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/clock.h"

#include <cstdlib>

#include <gtest/gtest.h>

namespace cwasi {
namespace {

TEST(ClockTest, BothClocksStandOnTheSameScale) {
  FastNow();  // Calibrates.
  const MonotonicNs start = Now();
  const MonotonicNs fast_start = FastNow();
  while (Now() - start < 5'000'000) {
  }
  const MonotonicNs exact = Now() - start;
  const MonotonicNs fast = FastNow() - fast_start;
  EXPECT_LT(std::llabs(exact - fast), exact / 10) << "exact " << exact << " fast " << fast;
  EXPECT_LT(std::llabs(fast_start - start), 5'000'000);
}

TEST(ClockTest, NeverStepsBack) {
  MonotonicNs last = FastNow();
  for (int i = 0; i < 100'000; ++i) {
    const MonotonicNs now = FastNow();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ClockTest, ADeadlinePastTheEndOfTimeIsNoDeadline) {
  EXPECT_EQ(DeadlineAfter(10, std::chrono::nanoseconds(5)), 15);
  EXPECT_EQ(DeadlineAfter(10, std::chrono::nanoseconds(INT64_MAX)), kNoDeadline);
}

}  // namespace
}  // namespace cwasi
