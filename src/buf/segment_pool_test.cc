// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/segment_pool.h"

#include <cstring>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "buf/units.h"
#include "test/support/proc_self.h"

namespace cwasi::buf {
namespace {

class SegmentPoolTest : public testing::Test {
 protected:
  SegmentRef Take(std::size_t bytes, Zero zero = Zero::kNo) {
    auto segment = pool_.Take(bytes, zero);
    EXPECT_TRUE(segment) << segment.error().message;
    return segment ? std::move(*segment) : SegmentRef();
  }
  Budget memory_{16 * kUnitBytes};
  Budget mappings_{300};
  SegmentPool pool_{memory_,
                    mappings_,
                    {.max_idle_bytes = 8 * kUnitBytes, .max_idle_age = std::chrono::seconds(5)}};
};

TEST_F(SegmentPoolTest, RecyclesASegmentWithItsPages) {
  auto first = Take(kUnitBytes);
  std::memset(first->Data(), 1, kUnitBytes);
  const auto frames = test::PageFrames(first->Data(), kUnitBytes);
  const std::byte* place = first->Data();
  first.Reset();
  const auto second = Take(kUnitBytes - 5);
  EXPECT_EQ(second->Data(), place);
  EXPECT_EQ(test::PageFrames(second->Data(), kUnitBytes), frames);
  EXPECT_EQ(second->Data()[0], std::byte{1}) << "inside one trust domain former bytes may stay";
  EXPECT_EQ(pool_.GetStats().recycled, 1U);
}

TEST_F(SegmentPoolTest, GivesZerosWhereThatIsAskedFor) {
  auto first = Take(kUnitBytes);
  std::memset(first->Data(), 1, kUnitBytes);
  first.Reset();
  const auto second = Take(kUnitBytes, Zero::kAlways);
  ASSERT_EQ(pool_.GetStats().recycled, 1U);
  for (std::size_t i = 0; i < kUnitBytes; ++i) ASSERT_EQ(second->Data()[i], std::byte{0}) << i;
}

TEST_F(SegmentPoolTest, HasAtMostAnEighthToSpareInLargeSegments) {
  Budget memory(std::size_t{1} << 40);
  SegmentPool pool(memory, mappings_, {});
  for (std::size_t units = 1; units <= kMaxSegmentUnits; units += 7) {
    auto segment = pool.Take(units * kUnitBytes, Zero::kNo);
    ASSERT_TRUE(segment);
    EXPECT_GE((*segment)->CapacityBytes(), units * kUnitBytes);
    EXPECT_LE((*segment)->CapacityBytes(), units * kUnitBytes * 9 / 8 + kUnitBytes) << units;
  }
}

TEST_F(SegmentPoolTest, FreesIdleSegmentsToMakeRoom) {
  {
    std::vector<SegmentRef> held;
    for (int i = 0; i < 8; ++i) held.push_back(Take(kUnitBytes));
  }
  EXPECT_EQ(pool_.GetStats().idle, 8U);
  const auto large = Take(12 * kUnitBytes);
  EXPECT_EQ(large->CapacityBytes(), 12 * kUnitBytes);
  EXPECT_LE(memory_.Used(), memory_.Limit());
}

TEST_F(SegmentPoolTest, RefusesWhatIsOverItsBudgetAndRecovers) {
  auto most = Take(16 * kUnitBytes);
  const auto more = pool_.Take(1, Zero::kNo);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, ErrorCode::kResourceExhausted);
  most.Reset();
  EXPECT_TRUE(pool_.Take(1, Zero::kNo));
}

TEST_F(SegmentPoolTest, KeepsNoMoreIdleThanItsBound) {
  {
    std::vector<SegmentRef> held;
    for (int i = 0; i < 5; ++i) held.push_back(Take(3 * kUnitBytes));
  }
  EXPECT_EQ(pool_.GetStats().idle_bytes, 6 * kUnitBytes);
}

TEST_F(SegmentPoolTest, TrimsWhatHasBeenIdleTooLong) {
  const std::size_t descriptors = test::CountDescriptors();
  Take(kUnitBytes).Reset();
  const MonotonicNs due = pool_.NextTrim();
  ASSERT_NE(due, kNoDeadline);
  pool_.Trim(due - 1);
  EXPECT_EQ(pool_.GetStats().idle, 1U);
  pool_.Trim(due);
  EXPECT_EQ(pool_.GetStats().idle, 0U);
  EXPECT_EQ(memory_.Used(), 0U);
  EXPECT_EQ(mappings_.Used(), 0U);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
  EXPECT_EQ(pool_.NextTrim(), kNoDeadline);
}

}  // namespace
}  // namespace cwasi::buf
