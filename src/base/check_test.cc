// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/check.h"

#include <gtest/gtest.h>

namespace cwasi {
namespace {

TEST(CheckDeathTest, NamesTheConditionAndEndsTheProcess) {
  const int two = 2;
  EXPECT_DEATH(CHECK(two == 3), "check_test.cc:[0-9]+: CHECK\\(two == 3\\) failed");
}

TEST(CheckTest, EvaluatesItsConditionOnce) {
  int calls = 0;
  CHECK(++calls > 0);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace cwasi
