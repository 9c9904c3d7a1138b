// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/wait_set.h"

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace cwasi::ipc {
namespace {

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(30));
}

struct Pair {
  SharedWord word = 0;
  SharedWord sleeps = 0;
  [[nodiscard]] WaitWord Wait(std::uint32_t seen) {
    return {.word = &word, .sleeps = &sleeps, .seen = seen};
  }
  void Change() {
    word.fetch_add(1, std::memory_order_seq_cst);
    WakeIfSleeping(word, sleeps);
  }
  void AwaitSleeper() const {
    while (sleeps.load() == 0) std::this_thread::yield();
  }
};

class WaitSetTest : public ::testing::TestWithParam<SpinPolicy::Mode> {
 protected:
  void SetUp() override {
    const auto supported = WaitSet::Supported();
    if (!supported) GTEST_SKIP() << supported.error().message;
    set_.Policy().SetMode(GetParam());
  }
  Doorbell doorbell_;
  WaitSet set_{doorbell_};
  Pair pair_;
};

TEST_P(WaitSetTest, ReturnsAtOnceForAWordThatHasChangedAlready) {
  const std::array<WaitWord, 1> words = {pair_.Wait(1)};
  const Woken woken = set_.Wait(words, kNoDeadline);
  EXPECT_TRUE(woken.word);
  EXPECT_FALSE(woken.doorbell || woken.deadline);
  EXPECT_EQ(set_.Statistics().ready, 1U);
}

TEST_P(WaitSetTest, EndsAtTheDeadlineAndNotBefore) {
  const std::array<WaitWord, 1> words = {pair_.Wait(0)};
  for (const int ms : {-5, 0, 3}) {
    const MonotonicNs deadline = DeadlineAfter(Now(), std::chrono::milliseconds(ms));
    const Woken woken = set_.Wait(words, deadline);
    EXPECT_TRUE(woken.deadline);
    EXPECT_FALSE(woken.word || woken.doorbell);
    EXPECT_GE(Now(), deadline);
  }
  EXPECT_TRUE(set_.Wait({}, INT64_MIN).deadline);
  EXPECT_EQ(pair_.sleeps, 0U) << "who does not sleep says so";
}

TEST_P(WaitSetTest, ADoorbellThatRangBeforeOrWhileWaitingIsReportedOnce) {
  doorbell_.Ring();
  doorbell_.Ring();
  EXPECT_TRUE(set_.Wait({}, Soon()).doorbell);
  EXPECT_TRUE(set_.Wait({}, Now()).deadline);
  std::thread ringer([this] { doorbell_.Ring(); });
  EXPECT_TRUE(set_.Wait({}, Soon()).doorbell);
  ringer.join();
}

TEST_P(WaitSetTest, ReportsWordAndDoorbellTogether) {
  const std::array<WaitWord, 1> words = {pair_.Wait(0)};
  pair_.Change();
  doorbell_.Ring();
  const Woken woken = set_.Wait(words, Soon());
  EXPECT_TRUE(woken.word && woken.doorbell);
}

TEST_P(WaitSetTest, AnyOf127WordsWakesASleeper) {
  std::vector<Pair> pairs(WaitSet::kMaxWords);
  for (const std::size_t changed : {std::size_t{0}, std::size_t{63}, pairs.size() - 1}) {
    std::vector<WaitWord> words;
    words.reserve(pairs.size());
    for (Pair& p : pairs) words.push_back(p.Wait(p.word));
    std::thread changer([&p = pairs[changed]] {
      p.AwaitSleeper();
      p.Change();
    });
    EXPECT_TRUE(set_.Wait(words, Soon()).word);
    changer.join();
  }
  EXPECT_EQ(set_.Statistics().slept, 3U);
}

TEST_P(WaitSetTest, AWakeForNothingDoesNotEndTheWait) {
  const std::array<WaitWord, 1> words = {pair_.Wait(0)};
  std::thread liar([this] {
    for (int i = 0; i < 20; ++i) {
      pair_.AwaitSleeper();
      Wake(pair_.word, WakeScope::kShared);
      std::this_thread::yield();
    }
    pair_.AwaitSleeper();
    doorbell_.Ring();
  });
  const Woken woken = set_.Wait(words, Soon());
  EXPECT_TRUE(woken.doorbell);
  EXPECT_FALSE(woken.word);
  liar.join();
}

// Two threads hand one token to and fro; a lost wake-up would end it by the deadline.
TEST_P(WaitSetTest, LosesNoWakeUpBetweenTwoThreads) {
  constexpr std::uint32_t kRounds = 10'000;
  Pair other;
  std::thread partner([&] {
    Doorbell doorbell;
    WaitSet set(doorbell);
    set.Policy().SetMode(GetParam());
    for (std::uint32_t i = 0; i < kRounds; ++i) {
      const std::array<WaitWord, 1> words = {pair_.Wait(i)};
      ASSERT_TRUE(set.Wait(words, Soon()).word) << i;
      other.Change();
    }
  });
  for (std::uint32_t i = 0; i < kRounds; ++i) {
    pair_.Change();
    const std::array<WaitWord, 1> words = {other.Wait(i)};
    ASSERT_TRUE(set_.Wait(words, Soon()).word) << i;
  }
  partner.join();
}

INSTANTIATE_TEST_SUITE_P(Modes, WaitSetTest,
                         ::testing::Values(SpinPolicy::Mode::kNever, SpinPolicy::Mode::kAdaptive,
                                           SpinPolicy::Mode::kAlways));

}  // namespace
}  // namespace cwasi::ipc
