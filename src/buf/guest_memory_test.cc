// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A memory made from what an ended one left must be as new: nothing of the former guest is in it.

#include "buf/guest_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "buf/page_mover.h"
#include "buf/segment.h"
#include "buf/units.h"
#include "test/support/proc_self.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kInitial = 17 * 65536;

class GuestMemoryTest : public testing::Test {
 protected:
  std::unique_ptr<GuestMemory> Make(std::size_t initial_bytes = kInitial) {
    auto made = GuestMemory::Create({.reserved_bytes = std::size_t{4} << 30,
                                     .guard_bytes = kUnitBytes,
                                     .initial_bytes = initial_bytes,
                                     .maximum_bytes = std::size_t{4} << 30,
                                     .limit_bytes = std::size_t{1} << 30},
                                    {.memory = memory_, .mappings = mappings_, .regions = pool_});
    return made ? std::move(*made) : nullptr;
  }
  static bool AllZero(const GuestMemory& memory) {
    return std::all_of(memory.Base(), memory.Base() + memory.SizeBytes(),
                       [](std::byte b) { return b == std::byte{0}; });
  }
  // The kernel reads the byte for us, so that a fault is an error and not a signal.
  [[nodiscard]] bool IsAccessible(const std::byte* at) const {
    return ::pwrite(file_.Get(), at, 1, 0) == 1;
  }

  Budget memory_{std::size_t{4} << 30};
  Budget mappings_{1000};
  MemoryPool pool_;
  UniqueFd file_{::memfd_create("probe", MFD_CLOEXEC)};
};

TEST_F(GuestMemoryTest, GivesItsAddressSpaceToTheNextWithNothingInIt) {
  auto first = Make();
  ASSERT_NE(first, nullptr);
  const std::byte* const base = first->Base();
  for (const std::size_t at : {std::size_t{0}, kInitial / 2, kInitial - 1})
    first->Base()[at] = std::byte{0x5a};
  first.reset();
  EXPECT_EQ(pool_.Idle(), 1U);
  const auto second = Make();
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->Base(), base);
  EXPECT_EQ(pool_.Idle(), 0U);
  EXPECT_TRUE(AllZero(*second));
}

TEST_F(GuestMemoryTest, LeavesNothingHoweverMuchWasWritten) {
  auto first = Make();
  std::memset(first->Base(), 0x5a, kInitial);
  const std::byte* const base = first->Base();
  first.reset();
  const auto second = Make();
  EXPECT_EQ(second->Base(), base);
  EXPECT_TRUE(AllZero(*second));
}

TEST_F(GuestMemoryTest, IsAsSmallAsNewAfterOneThatGrew) {
  auto first = Make();
  ASSERT_TRUE(first->Grow(4 * kInitial));
  std::memset(first->Base(), 0x5a, 4 * kInitial);
  const std::byte* const base = first->Base();
  first.reset();
  const auto second = Make();
  ASSERT_EQ(second->Base(), base);
  EXPECT_EQ(second->SizeBytes(), kInitial);
  EXPECT_TRUE(IsAccessible(base + kInitial - 1));
  EXPECT_FALSE(IsAccessible(base + kInitial)) << "the former guest's memory is within reach";
  EXPECT_TRUE(AllZero(*second));
  ASSERT_TRUE(second->Grow(4 * kInitial));
  EXPECT_TRUE(AllZero(*second));
}

TEST_F(GuestMemoryTest, IsAsNewAfterOneThatHadWindows) {
  if (const auto support = ProbeMoveSupport(); !support.available)
    GTEST_SKIP() << "this kernel cannot move pages: " << support.reason;
  const std::size_t mappings_before = test::CountMappings();
  for (int round = 0; round < 50; ++round) {
    auto guest = Make();
    ASSERT_TRUE(AllZero(*guest));
    guest->AllowArena(4 * kUnitBytes);
    ASSERT_TRUE(guest->Grow(5 * kUnitBytes));
    auto segment = std::move(*Segment::Create(1, memory_, mappings_));
    std::memset(segment->Data(), 0x5a, kUnitBytes);
    ASSERT_TRUE(segment->MoveTo(guest->Base() + 2 * kUnitBytes));
    guest->Base()[kUnitBytes] = std::byte{0x5a};
    segment->Stage();
  }
  EXPECT_LE(test::CountMappings(), mappings_before + 2 + test::kSlackMappings);
  EXPECT_EQ(pool_.Idle(), 1U);
  EXPECT_EQ(memory_.Used(), 0U);
}

TEST_F(GuestMemoryTest, GivesALargerStartToAnotherFunction) {
  Make().reset();
  const auto larger = Make(2 * kInitial);
  ASSERT_NE(larger, nullptr);
  EXPECT_EQ(pool_.Idle(), 0U) << "what is accessible already can be extended";
  EXPECT_EQ(larger->SizeBytes(), 2 * kInitial);
  EXPECT_TRUE(AllZero(*larger));
}

TEST_F(GuestMemoryTest, NeverGivesMoreThanWasAskedFor) {
  Make(2 * kInitial).reset();
  const auto smaller = Make(kInitial);
  ASSERT_NE(smaller, nullptr);
  EXPECT_EQ(pool_.Idle(), 1U);
  EXPECT_FALSE(IsAccessible(smaller->Base() + kInitial));
}

TEST_F(GuestMemoryTest, KeepsABoundedNumber) {
  std::vector<std::unique_ptr<GuestMemory>> guests;
  for (std::size_t i = 0; i < MemoryPool::kMaxIdle + 5; ++i) guests.push_back(Make());
  guests.clear();
  EXPECT_EQ(pool_.Idle(), MemoryPool::kMaxIdle);
  EXPECT_EQ(mappings_.Used(), MemoryPool::kMaxIdle * kMappingsPerMemory);
}

TEST_F(GuestMemoryTest, GivesIdleOnesUpBeforeItRefuses) {
  Make().reset();
  ASSERT_TRUE(mappings_.TryReserve(mappings_.Limit() - mappings_.Used()));
  // Of another size, so that the idle one does not fit.
  auto other = GuestMemory::Create({.reserved_bytes = std::size_t{1} << 30,
                                    .guard_bytes = kUnitBytes,
                                    .initial_bytes = kInitial,
                                    .maximum_bytes = std::size_t{1} << 30,
                                    .limit_bytes = std::size_t{1} << 30},
                                   {.memory = memory_, .mappings = mappings_, .regions = pool_});
  EXPECT_TRUE(other) << other.error().message;
  EXPECT_EQ(pool_.Idle(), 0U);
}

}  // namespace
}  // namespace cwasi::buf
