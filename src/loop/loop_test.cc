// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "loop/loop.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/proc_self.h"

namespace cwasi::loop {
namespace {

using namespace std::chrono_literals;

// An eventfd that is ready at once and stays so until it is read.
class Ready {
 public:
  Ready() : fd_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  [[nodiscard]] int Fd() const { return fd_.Get(); }
  void Drain() const {
    std::uint64_t count = 0;
    EXPECT_EQ(::read(fd_.Get(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
  }

 private:
  UniqueFd fd_;
};

class LoopTest : public testing::Test {
 protected:
  LoopTest() {
    auto made = Loop::Create();
    EXPECT_TRUE(made);
    loop_ = std::move(*made);
  }
  std::unique_ptr<Watch> WatchOf(int fd, std::function<void(std::uint32_t)> on_ready) {
    auto watch = Watch::Create(*loop_, fd, EPOLLIN, std::move(on_ready));
    EXPECT_TRUE(watch) << watch.error().message;
    return std::move(*watch);
  }
  void Round() { loop_->RunOnce(Now()); }
  std::unique_ptr<Loop> loop_;
};

TEST_F(LoopTest, CallsBackAsLongAsADescriptorIsReady) {
  const Ready ready;
  int calls = 0;
  const auto watch = WatchOf(ready.Fd(), [&](std::uint32_t events) {
    EXPECT_EQ(events, std::uint32_t{EPOLLIN});
    ++calls;
  });
  Round();
  Round();
  EXPECT_EQ(calls, 2);
  ready.Drain();
  Round();
  EXPECT_EQ(calls, 2);
}

TEST_F(LoopTest, TellsAHangUp) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  std::uint32_t seen = 0;
  const auto watch = WatchOf(in.Get(), [&](std::uint32_t events) { seen = events; });
  Round();
  EXPECT_EQ(seen, 0U);
  out.Reset();
  Round();
  EXPECT_NE(seen & EPOLLHUP, 0U);
}

TEST_F(LoopTest, AWatchMayEndItselfInItsOwnCallback) {
  const Ready ready;
  int calls = 0;
  std::unique_ptr<Watch> watch;
  // The capture is used after the watch is gone: under ASan this is the test.
  const std::vector<int> captured(100, 7);
  watch = WatchOf(ready.Fd(), [&watch, &calls, captured](std::uint32_t) {
    watch.reset();
    calls += captured[99];
  });
  Round();
  Round();
  EXPECT_EQ(calls, 7);
}

TEST_F(LoopTest, AWatchThatAnotherEndsIsNotCalledInTheSameRound) {
  const Ready a;
  const Ready b;
  std::unique_ptr<Watch> first;
  std::unique_ptr<Watch> second;
  int calls = 0;
  first = WatchOf(a.Fd(), [&](std::uint32_t) {
    ++calls;
    second.reset();
  });
  second = WatchOf(b.Fd(), [&](std::uint32_t) {
    ++calls;
    first.reset();
  });
  Round();
  EXPECT_EQ(calls, 1);
}

TEST_F(LoopTest, AWatchMayBeReplacedInItsCallbackOnTheSameDescriptor) {
  const Ready ready;
  std::unique_ptr<Watch> watch;
  int new_calls = 0;
  watch = WatchOf(ready.Fd(), [&](std::uint32_t) {
    watch.reset();
    watch = WatchOf(ready.Fd(), [&](std::uint32_t) { ++new_calls; });
  });
  Round();
  EXPECT_EQ(new_calls, 0);
  Round();
  EXPECT_EQ(new_calls, 1);
}

TEST_F(LoopTest, RefusesWhatCannotBeWatched) {
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const auto watch = Watch::Create(*loop_, file.Get(), EPOLLIN, [](std::uint32_t) {});
  ASSERT_FALSE(watch);
  EXPECT_EQ(watch.error().code, ErrorCode::kInvalidArgument);
}

TEST_F(LoopTest, TimersComeInTheOrderOfTheirTimes) {
  std::vector<int> order;
  Timer late(*loop_, [&] { order.push_back(2); });
  Timer early(*loop_, [&] { order.push_back(1); });
  Timer never(*loop_, [&] { order.push_back(3); });
  const MonotonicNs now = Now();
  late.Arm(now - 1);
  early.Arm(now - 2);
  never.Arm(DeadlineAfter(now, 1h));
  Round();
  EXPECT_EQ(order, (std::vector{1, 2}));
  EXPECT_FALSE(late.IsArmed());
  EXPECT_TRUE(never.IsArmed());
}

TEST_F(LoopTest, ATimerWakesTheLoop) {
  bool came = false;
  Timer timer(*loop_, [&] {
    came = true;
    loop_->Stop();
  });
  timer.Arm(DeadlineAfter(Now(), 2ms));
  loop_->Run();
  EXPECT_TRUE(came);
}

TEST_F(LoopTest, ATimerMayArmItselfAndOthersGetTheirTurn) {
  int calls = 0;
  Timer timer(*loop_, [&] {
    ++calls;
    timer.Arm(Now());
  });
  timer.Arm(Now());
  Round();
  EXPECT_EQ(calls, 1) << "it starved the round";
  Round();
  EXPECT_EQ(calls, 2);
}

TEST_F(LoopTest, ATimerMayDestroyItselfAndAnother) {
  std::unique_ptr<Timer> self;
  std::unique_ptr<Timer> other;
  int calls = 0;
  const std::vector<int> captured(100, 1);
  self = std::make_unique<Timer>(*loop_, [&, captured] {
    other.reset();
    self.reset();
    calls += captured[0];
  });
  other = std::make_unique<Timer>(*loop_, [&] { calls += 100; });
  self->Arm(Now() - 2);
  other->Arm(Now() - 1);
  Round();
  EXPECT_EQ(calls, 1);
}

TEST_F(LoopTest, ADisarmedTimerDoesNotCome) {
  int calls = 0;
  Timer timer(*loop_, [&] { ++calls; });
  timer.Arm(Now());
  timer.Disarm();
  Round();
  EXPECT_EQ(calls, 0);
}

TEST_F(LoopTest, RunsWhatOtherThreadsPostInTheirOrder) {
  constexpr int kEach = 2000;
  std::array<std::vector<int>, 2> seen;
  int left = 2 * kEach;
  std::vector<std::thread> threads;
  threads.reserve(2);
  for (std::size_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        while (!loop_->Post([&, t, i] {
          seen[t].push_back(i);
          if (--left == 0) loop_->Stop();
        })) {
        }
      }
    });
  }
  loop_->Run();
  for (auto& thread : threads) thread.join();
  for (const auto& mine : seen) {
    ASSERT_EQ(mine.size(), static_cast<std::size_t>(kEach));
    for (int i = 0; i < kEach; ++i) EXPECT_EQ(mine[static_cast<std::size_t>(i)], i);
  }
}

TEST_F(LoopTest, RefusesMoreThanItsBound) {
  for (std::size_t i = 0; i < Loop::kMaxPosted; ++i) ASSERT_TRUE(loop_->Post([] {}));
  EXPECT_FALSE(loop_->Post([] {}));
  Round();
  EXPECT_TRUE(loop_->Post([] {}));
}

TEST_F(LoopTest, WhatIsPostedByPostedWorkRunsInTheNextRound) {
  int calls = 0;
  ASSERT_TRUE(loop_->Post([&] {
    ++calls;
    EXPECT_TRUE(loop_->Post([&] { ++calls; }));
  }));
  Round();
  EXPECT_EQ(calls, 1);
  Round();
  EXPECT_EQ(calls, 2);
}

TEST_F(LoopTest, AStopBeforeRunEndsItAndTheNextRunGoesOn) {
  loop_->Stop();
  loop_->Run();
  bool ran = false;
  ASSERT_TRUE(loop_->Post([&] {
    ran = true;
    loop_->Stop();
  }));
  loop_->Run();
  EXPECT_TRUE(ran);
}

TEST_F(LoopTest, SignalsComeAsCallbacksAndTheMaskIsPutBack) {
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  {
    std::vector<int> seen;
    auto signals =
        Signals::Create(*loop_, {SIGTERM, SIGHUP}, [&](int signal) { seen.push_back(signal); });
    ASSERT_TRUE(signals);
    ASSERT_EQ(::raise(SIGTERM), 0);
    ASSERT_EQ(::raise(SIGHUP), 0);
    Round();
    Round();
    EXPECT_EQ(seen.size(), 2U);
  }
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGTERM, SIGHUP})
    EXPECT_EQ(::sigismember(&after, signal), ::sigismember(&before, signal));
}

TEST_F(LoopTest, LeavesNoDescriptorBehind) {
  const std::size_t before = test::CountDescriptors();
  for (int i = 0; i < 10; ++i) {
    const auto loop = Loop::Create();
    ASSERT_TRUE(loop);
    const auto signals = Signals::Create(**loop, {SIGUSR1}, [](int) {});
    ASSERT_TRUE(signals);
  }
  EXPECT_EQ(test::CountDescriptors(), before);
}

}  // namespace
}  // namespace cwasi::loop
