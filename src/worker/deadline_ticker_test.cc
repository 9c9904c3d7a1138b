// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/deadline_ticker.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include <gtest/gtest.h>

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;

class DeadlineTickerTest : public testing::Test {
 protected:
  bool Within(std::chrono::nanoseconds limit, const std::function<bool()>& condition) {
    const MonotonicNs end = Now() + limit.count();
    while (Now() < end) {
      if (condition()) return true;
      std::this_thread::yield();
    }
    return condition();
  }
  std::atomic<int> interrupts_ = 0;
  std::atomic<int> overruns_ = 0;
  DeadlineTicker ticker_{
      {.interrupt = [this] { ++interrupts_; }, .overrun = [this] { ++overruns_; }}};
};

TEST_F(DeadlineTickerTest, InterruptsAtTheDeadlineAndNotBefore) {
  const MonotonicNs deadline = Now() + 30'000'000;
  ticker_.Set(deadline);
  EXPECT_TRUE(Within(5s, [&] { return interrupts_ > 0; }));
  EXPECT_GE(Now(), deadline);
}

TEST_F(DeadlineTickerTest, NoticesAnEarlierDeadline) {
  ticker_.Set(Now() + 3'600'000'000'000);
  EXPECT_FALSE(Within(5ms, [&] { return interrupts_ > 0; }));
  ticker_.Set(Now() + 1'000'000);
  EXPECT_TRUE(Within(5s, [&] { return interrupts_ > 0; }));
}

TEST_F(DeadlineTickerTest, LeavesACallAloneThatEndedInTime) {
  for (int i = 0; i < 2000; ++i) {
    ticker_.Set(Now() + 50'000'000);
    ticker_.Set(kNoDeadline);
  }
  EXPECT_FALSE(Within(100ms, [&] { return interrupts_ > 0; }));
}

// Times that other threads of this process gave up the CPU: what a sleeper adds to when it wakes.
std::size_t SwitchesOfOtherThreads() {
  std::size_t total = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (task.path().filename() == std::to_string(::gettid())) continue;
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      constexpr std::string_view kField = "voluntary_ctxt_switches:";
      if (line.starts_with(kField)) total += std::stoul(line.substr(kField.size()));
    }
  }
  return total;
}

TEST_F(DeadlineTickerTest, SleepsWhileTheDeadlineIsFar) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which wakes";
#endif
  ticker_.Set(Now() + 3'600'000'000'000);
  EXPECT_FALSE(Within(5ms, [&] { return interrupts_ > 0; }));  // It has gone to sleep by now.
  const std::size_t before = SwitchesOfOtherThreads();
  for (int i = 0; i < 1000; ++i) {
    ticker_.Set(Now() + 3'600'000'000'000);  // Later than what it waits for: no reason to wake.
    EXPECT_FALSE(Within(50us, [&] { return interrupts_ > 0; }));
  }
  EXPECT_LE(SwitchesOfOtherThreads() - before, 2U);
}

TEST_F(DeadlineTickerTest, ActsOnAnOverrunOnlyAfterTheGrace) {
  ticker_.CrossBoundary();
  const MonotonicNs deadline = Now() + 1'000'000;
  ticker_.Set(deadline);
  EXPECT_TRUE(Within(5s, [&] { return overruns_ > 0; }));
  EXPECT_GT(Now() - deadline, std::chrono::nanoseconds(kGrace).count());
  EXPECT_GT(interrupts_, 5) << "it repeats the interrupt meanwhile";
}

// Until this thread has run for so long, whatever else the machine does.
void Burn(std::chrono::nanoseconds time) {
  const auto ran = [] {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  };
  for (const auto end = ran() + time; ran() < end;) {
  }
}

// A slow copy for a guest that will stop is no overrun.
TEST_F(DeadlineTickerTest, TheHostsWorkIsNotTheGuests) {
  const auto is_spared = [&] { return overruns_ == 0 || interrupts_ >= 1000; };
  ticker_.Set(Now());
  Burn(100ms);
  EXPECT_TRUE(is_spared());
  // It is in a guest now and then, never for long.
  for (int i = 0; i < 30; ++i) {
    ticker_.CrossBoundary();
    Burn(2ms);
    ticker_.CrossBoundary();
    Burn(1ms);
    ASSERT_TRUE(is_spared());
  }
  ticker_.CrossBoundary();
  Burn(60ms);
  EXPECT_TRUE(Within(5s, [&] { return overruns_ > 0; }));
}

// As one that gets no processor.
TEST_F(DeadlineTickerTest, AGuestThatDoesNotRunHasASecond) {
  ticker_.CrossBoundary();
  ticker_.Set(Now());
  const MonotonicNs end = DeadlineAfter(Now(), 30s);
  while (overruns_ == 0 && Now() < end) std::this_thread::sleep_for(5ms);
  EXPECT_GT(overruns_, 0);
  EXPECT_GE(interrupts_, 1000);
}

TEST_F(DeadlineTickerTest, NeverLosesAWakeUp) {
  // Each round races Set against the ticker going to sleep.
  for (int i = 0; i < 3000; ++i) {
    const int before = interrupts_;
    ticker_.Set(Now());
    ASSERT_TRUE(Within(10s, [&] { return interrupts_ > before; })) << "round " << i;
    ticker_.Set(kNoDeadline);
  }
}

TEST(DeadlineTickerDeathTest, EndsAWorkerThatDoesNotStop) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        DeadlineTicker ticker({.interrupt = [] {}, .overrun = {}});
        ticker.CrossBoundary();
        ticker.Set(Now());
        for (;;) std::this_thread::yield();
      },
      testing::ExitedWithCode(kOverrunExitCode), "did not stop at its deadline");
}

}  // namespace
}  // namespace cwasi::worker
