// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/clock.h"

#include <poll.h>

#include <algorithm>

#include <gtest/gtest.h>

namespace cwasi {
namespace {

TEST(ClockTest, BothClocksSayTheSame) {
  // The least of many looks: the thread may lose its CPU between the two.
  for (int round = 0; round < 3; ++round) {
    MonotonicNs least = kNoDeadline;
    for (int i = 0; i < 1000; ++i) {
      const MonotonicNs before = Now();
      const MonotonicNs fast = FastNow();
      const MonotonicNs after = Now();
      least = std::min(least, std::max({before - fast, fast - after, MonotonicNs{0}}));
    }
    EXPECT_LT(least, 5'000);
    ::poll(nullptr, 0, 30);
  }
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
