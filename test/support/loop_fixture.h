// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A loop in a test, run until something has come true.

#pragma once

#include <chrono>
#include <memory>

#include <gtest/gtest.h>

#include "loop/loop.h"

namespace cwasi::test {

class LoopFixture : public testing::Test {
 protected:
  LoopFixture() {
    auto made = loop::Loop::Create();
    EXPECT_TRUE(made) << made.error().message;
    loop_ = std::move(*made);
  }
  // False: it did not come true within a long time.
  template <class Condition>
  bool RunUntil(Condition condition) {
    const MonotonicNs deadline = DeadlineAfter(Now(), std::chrono::seconds(30));
    while (!condition() && Now() < deadline) loop_->RunOnce(deadline);
    return condition();
  }
  std::unique_ptr<loop::Loop> loop_;
};

}  // namespace cwasi::test
