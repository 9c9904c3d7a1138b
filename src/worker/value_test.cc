// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/value.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "buf/units.h"

namespace cwasi::worker {
namespace {

constexpr std::size_t kBytes = buf::kUnitBytes + 1;

class ValueTest : public testing::Test {
 protected:
  Value Make(std::size_t bytes) {
    auto payload = buf::Payload::CopyOf(std::vector<std::byte>(bytes, std::byte{7}), payloads_);
    EXPECT_TRUE(payload);
    return {.payload = std::move(*payload), .given = {.duration = 5, .copies = 1}};
  }
  static bool IsWhole(const Value& value, std::size_t bytes) {
    return value.Size() == bytes &&
           std::ranges::all_of(value.Bytes(), [](std::byte b) { return b == std::byte{7}; });
  }
  buf::PayloadMemory payloads_{{}};
};

TEST_F(ValueTest, SeveralTakersGetTheSameBytesWithoutACopy) {
  for (const std::size_t bytes : {std::size_t{10}, kBytes}) {
    Value value = Make(bytes);
    const auto before = payloads_.Copies().copies;
    const Value first = value.ForOneTaker();
    const Value second = value.ForOneTaker();
    EXPECT_TRUE(IsWhole(first, bytes));
    EXPECT_TRUE(IsWhole(second, bytes));
    EXPECT_TRUE(IsWhole(value, bytes));
    EXPECT_EQ(first.Bytes().data(), second.Bytes().data()) << "stored once";
    EXPECT_EQ(payloads_.Copies().copies, before);
  }
}

TEST_F(ValueTest, WhatTheGivingTookIsCountedOnce) {
  Value value = Make(kBytes);
  EXPECT_EQ(value.ForOneTaker().given.copies, 1U);
  EXPECT_EQ(value.ForOneTaker().given.copies, 0U);
  EXPECT_EQ(value.ForLastTaker().given.duration, 0);
}

TEST_F(ValueTest, TheLastTakerGetsThePayloadItself) {
  Value value = Make(kBytes);
  {
    const Value first = value.ForOneTaker();
  }
  const Value last = value.ForLastTaker();
  EXPECT_FALSE(last.shared);
  EXPECT_TRUE(last.payload.IsSegment());
  EXPECT_TRUE(IsWhole(last, kBytes));
  EXPECT_EQ(value.Size(), 0U);
}

TEST_F(ValueTest, TheLastTakerSharesWhatAnotherStillHas) {
  Value value = Make(kBytes);
  Value first = value.ForOneTaker();
  const Value last = value.ForLastTaker();
  EXPECT_TRUE(last.shared);
  EXPECT_TRUE(IsWhole(last, kBytes));
  EXPECT_EQ(first.Bytes().data(), last.Bytes().data());
}

TEST_F(ValueTest, ASegmentOfAnotherWorkerIsNeverItsTakersToWrite) {
  Value own = Make(kBytes);
  Value value{.shared = buf::SharedPayload(std::move(own.payload),
                                           buf::SharedPayload::From::kAnotherWorker)};
  const Value last = value.ForLastTaker();
  EXPECT_TRUE(last.shared);
  EXPECT_TRUE(IsWhole(last, kBytes));
}

TEST_F(ValueTest, WhatALostWorkerMayStillHaveIsReadButNotUsedAgain) {
  Value value = Make(kBytes);
  {
    Value lost = value.ForOneTaker();
    lost.shared.Abandon();
  }
  {
    const Value last = value.ForLastTaker();
    EXPECT_TRUE(last.shared) << "its segment would be written";
    EXPECT_TRUE(IsWhole(last, kBytes));
    EXPECT_EQ(payloads_.Pool().GetStats().in_use, 1U);
  }
  EXPECT_EQ(payloads_.Pool().GetStats().in_use, 0U);
  EXPECT_EQ(payloads_.Pool().GetStats().idle, 0U) << "destroyed";
}

}  // namespace
}  // namespace cwasi::worker
