// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/slot_table.h"

#include <gtest/gtest.h>

namespace cwasi::ipc {
namespace {

TEST(SlotTableTest, EveryStepInEveryState) {
  // Rows: absent, home, lent. The step is allowed where the next state is not -1.
  enum { kAbsent, kHome, kLent };
  const struct {
    const char* step;
    int next[3];
  } table[] = {
      {"announce", {kHome, -1, -1}}, {"lend", {-1, kLent, -1}}, {"return", {-1, -1, kHome}}};
  for (int state = kAbsent; state <= kLent; ++state) {
    for (int step = 0; step < 3; ++step) {
      SCOPED_TRACE(table[step].step + std::string(" in state ") + std::to_string(state));
      SlotTable slots;
      if (state >= kHome) {
        ASSERT_TRUE(slots.Announce(5, 2));
      }
      if (state == kLent) {
        ASSERT_TRUE(slots.Lend(5, 1));
      }
      const bool done = step == 0   ? slots.Announce(5, 1)
                        : step == 1 ? slots.Lend(5, 7)
                                    : slots.Return(5, 7);
      const int next = table[step].next[state];
      EXPECT_EQ(done, next >= 0);
      const int now = next >= 0 ? next : state;
      EXPECT_EQ(slots.IsKnown(5), now >= kHome);
      EXPECT_EQ(slots.IsLent(5), now == kLent);
    }
  }
}

TEST(SlotTableTest, RefusesSlotsAndSizesOutOfRange) {
  SlotTable slots;
  EXPECT_FALSE(slots.Announce(kMaxSlots, 1));
  EXPECT_FALSE(slots.Announce(0, 0));
  EXPECT_FALSE(slots.Announce(0, kMaxSegmentUnits + 1));
  EXPECT_TRUE(slots.Announce(kMaxSlots - 1, kMaxSegmentUnits));
  EXPECT_FALSE(slots.Lend(UINT16_MAX, 0));
  EXPECT_FALSE(slots.Return(UINT16_MAX, 0));
  EXPECT_FALSE(slots.Lend(7, 0)) << "below the highest known, but absent";
}

TEST(SlotTableTest, APayloadIsNeverLongerThanItsSegment) {
  SlotTable slots;
  ASSERT_TRUE(slots.Announce(0, 1));
  EXPECT_FALSE(slots.Lend(0, kSegmentUnitBytes + 1));
  ASSERT_TRUE(slots.Lend(0, kSegmentUnitBytes));
  EXPECT_FALSE(slots.Return(0, kSegmentUnitBytes + 1));
  EXPECT_TRUE(slots.Return(0, kSegmentUnitBytes));
}

TEST(SlotTableTest, BoundsWhatIsAnnouncedAndNeverLent) {
  SlotTable slots;
  std::uint16_t slot = 0;
  for (; slot < SlotTable::kMaxUnused; ++slot) ASSERT_TRUE(slots.Announce(slot, 1));
  EXPECT_FALSE(slots.CanAnnounce());
  EXPECT_FALSE(slots.Announce(slot, 1));
  ASSERT_TRUE(slots.Lend(0, 0));
  ASSERT_TRUE(slots.Announce(slot, 1));
  ASSERT_TRUE(slots.Return(0, 0));
  ASSERT_TRUE(slots.Lend(0, 0)) << "used already: makes no room";
  EXPECT_FALSE(slots.CanAnnounce());
}

TEST(SlotTableTest, NamesWhatIsAwayWhenTheChannelEnds) {
  SlotTable slots;
  for (std::uint16_t slot = 0; slot < 4; ++slot) {
    ASSERT_TRUE(slots.Announce(slot, 1));
    ASSERT_TRUE(slots.Lend(slot, 0));
  }
  ASSERT_TRUE(slots.Return(2, 0));
  EXPECT_EQ(slots.Lent(), (std::vector<std::uint16_t>{0, 1, 3}));
}

}  // namespace
}  // namespace cwasi::ipc
