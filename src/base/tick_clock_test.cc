// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/tick_clock.h"

#include <algorithm>
#include <cstdlib>

#include <gtest/gtest.h>

namespace cwasi {
namespace {

// Three ticks a nanosecond; each look at a clock takes time, and sometimes the CPU is lost.
struct Fake {
  static inline std::uint64_t true_ns = 0;
  static inline double exact_rate = 1;  // Of the exact clock: the kernel slews it.
  static inline MonotonicNs exact_base = 0;
  static inline std::uint64_t base_ns = 0;
  static inline std::uint64_t looks = 0;
  static inline std::uint64_t lost_every = 0;

  static void Pass() {
    true_ns += 10;
    if (lost_every != 0 && ++looks % lost_every == 0) true_ns += 4'000'000;
  }
  static std::uint64_t Ticks() {
    Pass();
    return true_ns * 3;
  }
  static MonotonicNs Exact() {
    Pass();
    return exact_base +
           static_cast<MonotonicNs>(static_cast<double>(true_ns - base_ns) * exact_rate);
  }
  static void Slew(double rate) {
    exact_base = Exact();
    base_ns = true_ns;
    exact_rate = rate;
  }
};
using Clock = TickClock<Fake>;

class TickClockTest : public testing::Test {
 protected:
  TickClockTest() {
    Fake::true_ns = Fake::base_ns = 5'000'000'000;
    Fake::exact_base = 1'000'000'000;
    Fake::exact_rate = 1;
    Fake::looks = 0;
    Fake::lost_every = 0;
  }
  // The most that it was off in a minute, looking every `step`.
  static MonotonicNs WorstError(Clock& clock, const Clock::Rate& rate, std::uint64_t step) {
    MonotonicNs worst = 0;
    MonotonicNs last = 0;
    for (std::uint64_t ns = 0; ns < 60'000'000'000; ns += step) {
      Fake::true_ns += step;
      const MonotonicNs now = clock.Now(rate);
      EXPECT_GE(now, last);
      last = now;
      const auto lost = Fake::lost_every;
      Fake::lost_every = 0;
      worst = std::max<MonotonicNs>(worst, std::llabs(now - Fake::Exact()));
      Fake::lost_every = lost;
    }
    return worst;
  }
};

TEST_F(TickClockTest, MeasuresTheCounter) {
  const auto rate = Clock::Measure();
  EXPECT_NEAR(static_cast<double>(rate.ns_per_tick_32), 4294967296.0 / 3, 4294967296.0 / 3 / 1e5);
}

TEST_F(TickClockTest, StaysWithTheExactClock) {
  Clock clock;
  const auto rate = Clock::Measure();
  EXPECT_LT(WorstError(clock, rate, 1'000'000), 1000);
  EXPECT_LT(WorstError(clock, rate, 300'000'000), 1000) << "asked seldom";
}

TEST_F(TickClockTest, FollowsAClockThatIsSlewed) {
  Clock clock;
  const auto rate = Clock::Measure();
  for (const double slewed : {1 + 500e-6, 1 - 500e-6}) {
    Fake::Slew(slewed);
    EXPECT_LT(WorstError(clock, rate, 1'000'000), 21'000) << "500 ppm of the span, and back";
  }
}

TEST_F(TickClockTest, ALostCpuSpoilsNoMeasuring) {
  Fake::lost_every = 7;
  Clock clock;
  const auto rate = Clock::Measure();
  EXPECT_NEAR(static_cast<double>(rate.ns_per_tick_32), 4294967296.0 / 3, 4294967296.0 / 3 / 1e5);
  Fake::lost_every = 3;
  // What is said may be as old as the loss, since it came after the reading.
  EXPECT_LT(WorstError(clock, rate, 1'000'000), 4'100'000);
  Fake::lost_every = 0;
  EXPECT_LT(WorstError(clock, rate, 1'000'000), 1000);
}

}  // namespace
}  // namespace cwasi
