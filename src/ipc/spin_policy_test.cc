// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/spin_policy.h"

#include <gtest/gtest.h>

namespace cwasi::ipc {
namespace {

constexpr MonotonicNs kShort = SpinPolicy::kLimitNs;
constexpr MonotonicNs kLong = SpinPolicy::kLimitNs + 1;

// At time 0 nothing is due to be sampled.
MonotonicNs Limit(SpinPolicy& policy) {
  return policy.Limit(0);
}

TEST(SpinPolicyTest, SpinsUntilThreeLongWaitsInARow) {
  SpinPolicy policy(2);
  EXPECT_EQ(Limit(policy), SpinPolicy::kLimitNs);
  policy.Waited(kLong);
  policy.Waited(kLong);
  EXPECT_GT(Limit(policy), 0);
  policy.Waited(kLong);
  EXPECT_EQ(Limit(policy), 0);
}

TEST(SpinPolicyTest, ShortWaitsBringSpinningBackAndOneLongOneDoesNotEndIt) {
  SpinPolicy policy(2);
  for (int i = 0; i < 100; ++i) policy.Waited(kLong);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Limit(policy), 0);
    policy.Waited(kShort);
  }
  policy.Waited(kShort);
  EXPECT_GT(Limit(policy), 0);
  for (int i = 0; i < 100; ++i) policy.Waited(kShort);
  policy.Waited(kLong);
  EXPECT_GT(Limit(policy), 0);
}

TEST(SpinPolicyTest, NeverSpinsOnOneCpu) {
  SpinPolicy policy(1);
  EXPECT_EQ(Limit(policy), 0);
}

TEST(SpinPolicyTest, DoesNotSpinWhileMoreTasksWantToRunThanThereAreCpus) {
  SpinPolicy policy(2);
  for (int i = 0; i < 50; ++i) policy.SawRunnable(3);
  EXPECT_EQ(Limit(policy), 0);
  for (int i = 0; i < 50; ++i) policy.SawRunnable(2);
  EXPECT_GT(Limit(policy), 0);
  policy.SawRunnable(4);
  EXPECT_GT(Limit(policy), 0) << "one sample is an accident";
  policy.SawRunnable(4);
  policy.SawRunnable(4);
  policy.SawRunnable(4);
  EXPECT_EQ(Limit(policy), 0);
}

TEST(SpinPolicyTest, CanBeTold) {
  SpinPolicy policy(2);
  policy.SetMode(SpinPolicy::Mode::kNever);
  EXPECT_EQ(Limit(policy), 0);
  policy.SetMode(SpinPolicy::Mode::kAlways);
  for (int i = 0; i < 50; ++i) policy.Waited(kLong);
  EXPECT_GT(Limit(policy), 0);
}

TEST(SpinPolicyTest, AsksTheKernelHowManyTasksRun) {
  SpinPolicy policy(100'000);
  for (int i = 0; i < 50; ++i) policy.SawRunnable(1'000'000);
  ASSERT_EQ(Limit(policy), 0);
  // This machine has fewer: each look brings the mean down.
  for (int i = 1; i < 300; ++i) (void)policy.Limit(i * SpinPolicy::kSampleEveryNs);
  EXPECT_GT(policy.Limit(300 * SpinPolicy::kSampleEveryNs), 0);
}

}  // namespace
}  // namespace cwasi::ipc
