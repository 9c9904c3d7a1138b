// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "host/backoff.h"

#include <gtest/gtest.h>

namespace cwasi::host {
namespace {

using namespace std::chrono_literals;

TEST(BackoffTest, DoublesUpToItsBoundAndGivesUp) {
  Backoff backoff;
  EXPECT_EQ(backoff.Next(), 10ms);
  EXPECT_EQ(backoff.Next(), 20ms);
  for (int i = 2; i < 7; ++i) EXPECT_EQ(backoff.Next(), 10ms * (1 << i));
  for (int i = 7; i < Backoff::kTries; ++i) EXPECT_EQ(backoff.Next(), 1000ms);
  EXPECT_EQ(backoff.Next(), std::nullopt);
  EXPECT_EQ(backoff.Next(), std::nullopt);
}

TEST(BackoffTest, BeginsAnewAfterSuccess) {
  Backoff backoff;
  for (int i = 0; i < Backoff::kTries; ++i) EXPECT_TRUE(backoff.Next());
  backoff.Succeeded();
  EXPECT_EQ(backoff.Next(), 10ms);
}

}  // namespace
}  // namespace cwasi::host
