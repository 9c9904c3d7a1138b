// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the kernel can do is tried out, never assumed; where it cannot, or may not, nothing moves.

#include "buf/page_mover.h"

#include <gtest/gtest.h>

#include "buf/payload.h"
#include "buf/units.h"
#include "test/support/failing_mappings.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;

// Each system call of the trial in turn fails, as on a kernel that does not know it.
TEST(MoveAbilityTest, AKernelThatRefusesAnyStepIsFoundOut) {
  enum Exit : int { kAble = 0, kUnable = 1, kContradiction = 2 };
  const auto measure = []() -> int {
    const MoveAbility ability = MeasureMoveAbility();
    if (!ability.support.available)
      return !ability.support.reason.empty() && ability.crossover_bytes == SIZE_MAX
                 ? kUnable
                 : kContradiction;
    return ability.crossover_bytes >= 64 * 1024 && ability.crossover_bytes <= kUnitBytes
               ? kAble
               : kContradiction;
  };
  const std::byte* everything = nullptr;
  std::size_t unable = 0;
  for (std::size_t nth = 1; nth < 12; ++nth) {
    const auto result =
        test::RunWithFailingMapping(everything, SIZE_MAX / 2, nth, test::Damage::kNone, measure);
    ASSERT_TRUE(result.exited) << "signal " << result.code << " when call " << nth << " fails";
    EXPECT_NE(result.code, kContradiction) << "when call " << nth << " fails";
    if (result.code == kUnable) ++unable;
  }
  EXPECT_GE(unable, 3U);
}

PayloadMemory With(MovePolicy policy, const MoveAbility& ability) {
  PayloadMemory::Options options;
  options.policy = policy;
  options.ability = ability;
  return PayloadMemory(options);
}

TEST(MoveAbilityTest, NothingMovesWhereTheKernelCannot) {
  const auto memory =
      With(MovePolicy::kAuto, {.support = {.available = false, .reason = "too old"}});
  EXPECT_FALSE(memory.Moves(kGiB));
  EXPECT_EQ(memory.Support().reason, "too old");
}

TEST(MoveAbilityTest, NothingMovesWhereItIsSwitchedOff) {
  const auto memory = With(MovePolicy::kCopyAll,
                           {.support = {.available = true, .reason = ""}, .crossover_bytes = 1});
  EXPECT_FALSE(memory.Moves(kGiB));
  EXPECT_FALSE(memory.Support().available);
}

TEST(MoveAbilityTest, PayloadsMoveFromTheCrossoverOn) {
  const auto memory = With(MovePolicy::kAuto, {.support = {.available = true, .reason = ""},
                                               .crossover_bytes = 100'000});
  EXPECT_FALSE(memory.Moves(99'999));
  EXPECT_TRUE(memory.Moves(100'000));
}

}  // namespace
}  // namespace cwasi::buf
