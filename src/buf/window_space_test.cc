// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/window_space.h"

#include <cstdint>
#include <map>
#include <random>

#include <gtest/gtest.h>

namespace cwasi::buf {
namespace {

constexpr std::uint64_t kUnit = kUnitBytes;

TEST(WindowSpaceTest, TakesAnArenaAndGivesAlignedWindows) {
  WindowSpace space;
  ASSERT_TRUE(space.AddArena(3 * kUnit, 4 * kUnit, 7 * kUnit));
  const auto first = space.Allocate(kUnit + 1);
  const auto second = space.Allocate(2 * kUnit);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, 3 * kUnit);
  EXPECT_EQ(*second, 5 * kUnit);
  EXPECT_FALSE(space.Allocate(kUnit));
  space.Free(*first, kUnit + 1);
  EXPECT_EQ(space.Allocate(2 * kUnit), first);
}

TEST(WindowSpaceTest, RefusesArenasThatAHonestGuestDoesNotGive) {
  const std::uint64_t memory = 100 * kUnit;
  struct Case {
    const char* what;
    std::uint64_t offset;
    std::uint64_t bytes;
  };
  for (const Case& c : {
           Case{"unaligned", 10 * kUnit + 65536, kUnit},
           Case{"not whole units", 10 * kUnit, kUnit + 65536},
           Case{"empty", 10 * kUnit, 0},
           Case{"address 0", 0, kUnit},
           Case{"below the heap: stack and static data", 2 * kUnit, kUnit},
           Case{"past the end", 100 * kUnit, kUnit},
           Case{"partly past the end", 99 * kUnit, 2 * kUnit},
           Case{"wrapping in 32 bits", 0xffe00000U, kUnit},
           Case{"wrapping in 64 bits", 10 * kUnit, UINT64_MAX / kUnit * kUnit},
           Case{"the same again", 50 * kUnit, kUnit},
           Case{"overlapping its end", 51 * kUnit, 2 * kUnit},
           Case{"overlapping its start", 49 * kUnit, 2 * kUnit},
           Case{"containing it", 40 * kUnit, 20 * kUnit},
       }) {
    WindowSpace space;
    space.SetHeapBase(static_cast<std::uint32_t>(3 * kUnit));
    ASSERT_TRUE(space.AddArena(50 * kUnit, 2 * kUnit, memory));
    const auto added = space.AddArena(c.offset, c.bytes, memory);
    ASSERT_FALSE(added) << c.what;
    EXPECT_EQ(added.error().code, ErrorCode::kInvalidArgument) << c.what;
    EXPECT_EQ(space.ArenaBytes(), 2 * kUnit) << c.what;
  }
}

TEST(WindowSpaceTest, JoinsNeighbouringArenas) {
  WindowSpace space;
  ASSERT_TRUE(space.AddArena(kUnit, kUnit, 9 * kUnit));
  ASSERT_TRUE(space.AddArena(2 * kUnit, 2 * kUnit, 9 * kUnit));
  EXPECT_EQ(space.Allocate(3 * kUnit), static_cast<std::uint32_t>(kUnit));
}

TEST(WindowSpaceTest, AsksForMoreAndMoreInWholeUnits) {
  WindowSpace space;
  EXPECT_EQ(space.NextArenaBytes(1), kUnit);
  EXPECT_EQ(space.NextArenaBytes(5 * kUnit + 1), 6 * kUnit);
  ASSERT_TRUE(space.AddArena(kUnit, 6 * kUnit, 9 * kUnit));
  EXPECT_EQ(space.NextArenaBytes(1), 6 * kUnit);
  ASSERT_TRUE(space.AddArena(100 * kUnit, 500 * kUnit, 600 * kUnit));
  EXPECT_EQ(space.NextArenaBytes(1), 64 * kUnit);
}

TEST(WindowSpaceTest, SmallWindowsShareAUnitAndGiveItBack) {
  WindowSpace space;
  ASSERT_TRUE(space.AddArena(kUnit, kUnit, 9 * kUnit));
  const auto small = space.Allocate(5000);
  const auto other = space.Allocate(1);
  ASSERT_TRUE(small && other);
  EXPECT_EQ(*other, *small + 2 * kPageBytes);
  EXPECT_FALSE(space.Allocate(kUnit)) << "the unit is in use";
  space.Free(*small, 5000);
  space.Free(*other, 1);
  EXPECT_TRUE(space.Allocate(kUnit));
}

// Random allocations against the obvious model: live windows never overlap and lie in arenas.
TEST(WindowSpaceTest, NeverGivesTheSamePlaceTwice) {
  std::mt19937 random(7);
  WindowSpace space;
  ASSERT_TRUE(space.AddArena(kUnit, 40 * kUnit, 200 * kUnit));
  ASSERT_TRUE(space.AddArena(100 * kUnit, 20 * kUnit, 200 * kUnit));
  std::map<std::uint64_t, std::size_t> live;
  std::size_t refused = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (live.size() > 60 || (random() % 2 == 0 && !live.empty())) {
      const auto it = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
      space.Free(static_cast<std::uint32_t>(it->first), it->second);
      live.erase(it);
      continue;
    }
    const std::size_t bytes = 1 + random() % (random() % 4 == 0 ? 9 * kUnit : 200'000);
    const auto offset = space.Allocate(bytes);
    if (!offset) {
      ++refused;
      continue;
    }
    const auto next = live.lower_bound(*offset);
    if (next != live.end()) {
      ASSERT_LE(*offset + bytes, next->first);
    }
    if (next != live.begin()) {
      ASSERT_LE(std::prev(next)->first + std::prev(next)->second, *offset);
    }
    const bool inside = (*offset >= kUnit && *offset + bytes <= 41 * kUnit) ||
                        (*offset >= 100 * kUnit && *offset + bytes <= 120 * kUnit);
    ASSERT_TRUE(inside) << *offset;
    live.emplace(*offset, bytes);
  }
  EXPECT_GT(refused, 0U) << "the test never filled the space";
}

}  // namespace
}  // namespace cwasi::buf
