// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/segment.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "buf/guest_memory.h"
#include "buf/page_mover.h"
#include "buf/units.h"
#include "test/support/failing_mappings.h"
#include "test/support/proc_self.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kUnits = 3;
constexpr std::size_t kBytes = kUnits * kUnitBytes;

std::uint64_t& WordAt(std::byte* base, std::size_t index) {
  return reinterpret_cast<std::uint64_t*>(base)[index];
}

void Fill(std::byte* at, std::uint64_t seed) {
  for (std::size_t i = 0; i < kBytes / 8; ++i) WordAt(at, i) = seed + i;
}
bool Holds(std::byte* at, std::uint64_t seed) {
  for (std::size_t i = 0; i < kBytes / 8; ++i)
    if (WordAt(at, i) != seed + i) return false;
  return true;
}
bool AllZero(const std::byte* at, std::size_t bytes) {
  return std::all_of(at, at + bytes, [](std::byte b) { return b == std::byte{0}; });
}

class SegmentTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto support = ProbeMoveSupport(); !support.available)
      GTEST_SKIP() << "this kernel cannot move pages: " << support.reason;
    const GuestMemory::Shape shape{.reserved_bytes = std::size_t{1} << 30,
                                   .guard_bytes = kUnitBytes,
                                   .initial_bytes = 8 * kUnitBytes,
                                   .maximum_bytes = std::size_t{1} << 30,
                                   .limit_bytes = std::size_t{1} << 30};
    for (auto& guest : guests_) {
      auto memory = GuestMemory::Create(
          shape, {.memory = memory_, .mappings = mappings_, .regions = regions_});
      ASSERT_TRUE(memory) << memory.error().message;
      guest = std::move(*memory);
      std::memset(guest->Base(), 0x11, kUnitBytes);  // The guest's own: must never change.
    }
    auto segment = Segment::Create(kUnits, memory_, mappings_);
    ASSERT_TRUE(segment) << segment.error().message;
    segment_ = std::move(*segment);
    a_ = guests_[0]->Base() + kUnitBytes;
    b_ = guests_[1]->Base() + 2 * kUnitBytes;
  }
  void TearDown() override {
    if (segment_) segment_->Stage();
    for (const auto& guest : guests_) {
      if (!guest) continue;
      EXPECT_TRUE(std::all_of(guest->Base(), guest->Base() + kUnitBytes,
                              [](std::byte b) { return b == std::byte{0x11}; }));
    }
  }

  Budget memory_{std::size_t{8} << 30};
  Budget mappings_{1000};
  MemoryPool regions_;
  std::unique_ptr<GuestMemory> guests_[2];
  std::unique_ptr<Segment> segment_;
  std::byte* a_ = nullptr;
  std::byte* b_ = nullptr;
};

TEST_F(SegmentTest, ArrivesWithItsBytesAndLeavesZeros) {
  ASSERT_TRUE(segment_->MoveTo(a_));
  Fill(a_, 7);
  ASSERT_TRUE(segment_->MoveTo(b_));
  EXPECT_TRUE(Holds(b_, 7));
  EXPECT_TRUE(AllZero(a_, kBytes)) << "the giver still sees what it gave";
  Fill(a_, 99);  // The giver's window is its own again: nothing it writes reaches the taker.
  EXPECT_TRUE(Holds(b_, 7));
  segment_->Stage();
  EXPECT_TRUE(AllZero(b_, kBytes));
  EXPECT_TRUE(Holds(segment_->Data(), 7));
}

TEST_F(SegmentTest, GivesTheSamePageFramesToItsTaker) {
  ASSERT_TRUE(segment_->MoveTo(a_));
  Fill(a_, 1);
  const auto before = test::PageFrames(a_, kBytes);
  if (before.empty()) GTEST_SKIP() << "page frame numbers are shown to root only";
  ASSERT_EQ(std::count(before.begin(), before.end(), 0U), 0);
  ASSERT_TRUE(segment_->MoveTo(b_));
  EXPECT_EQ(test::PageFrames(b_, kBytes), before);  // Present without a fault, and the same memory.
  segment_->Stage();
  EXPECT_EQ(test::PageFrames(segment_->Data(), kBytes), before);
}

TEST_F(SegmentTest, IsNeitherInheritedByAForkNorDumped) {
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  bool seen = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.find("cwasi-segment") != std::string::npos) inside = true;
    if (!inside || line.rfind("VmFlags:", 0) != 0) continue;
    EXPECT_NE(line.find(" dc"), std::string::npos) << line;
    EXPECT_NE(line.find(" dd"), std::string::npos) << line;
    inside = false;
    seen = true;
  }
  EXPECT_TRUE(seen);
}

// Another thread maps and unmaps as fast as it can: were any address of a guest unmapped for a
// moment, one of its mappings would land there, and the giver's or taker's bytes would be gone.
TEST_F(SegmentTest, NeverLeavesAHoleThatAnotherThreadsMmapCanTake) {
  std::atomic<bool> stop = false;
  std::atomic<std::size_t> landed = 0;
  std::atomic<std::size_t> mapped = 0;
  const std::byte* lows[] = {guests_[0]->Base(), guests_[1]->Base()};
  std::thread hammer([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      for (const std::byte* low : lows) {
        // A hint inside the window: the kernel honours it whenever the range is free.
        auto* hint = const_cast<std::byte*>(low) + kUnitBytes;
        void* got = ::mmap(hint, kBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) continue;
        const auto* at = static_cast<const std::byte*>(got);
        if (at >= low && at < low + 8 * kUnitBytes) ++landed;
        ++mapped;
        ::munmap(got, kBytes);
      }
    }
  });
  ASSERT_TRUE(segment_->MoveTo(a_));
  for (std::uint64_t round = 0; round < 2000; ++round) {
    std::byte* from = round % 2 == 0 ? a_ : b_;
    std::byte* to = round % 2 == 0 ? b_ : a_;
    WordAt(from, round) = round;
    ASSERT_TRUE(segment_->MoveTo(to));
    ASSERT_EQ(WordAt(to, round), round);
    ASSERT_EQ(WordAt(from, round), 0U);
    if (round % 100 == 0) {
      segment_->Stage();
      ASSERT_TRUE(segment_->MoveTo(to));
    }
  }
  stop = true;
  hammer.join();
  EXPECT_EQ(landed, 0U);
  EXPECT_GT(mapped, 100U);
}

// For every system call of a tour of moves, and for both ways it can fail: either the caller gets
// an error and all bytes are where they were, or the process ends on purpose. Nothing is lost
// silently.
TEST_F(SegmentTest, EveryFailingMappingIsAnErrorOrTheEndOfTheProcess) {
  enum Exit : int { kAllDone = 0, kErrorAndIntact = 1, kLost = 2 };
  const auto tour = [&]() -> int {
    // A fork does not inherit segments, so the child makes its own.
    auto created = Segment::Create(kUnits, memory_, mappings_);
    if (!created) return kErrorAndIntact;
    Segment& segment = **created;
    struct StageAtEnd {
      Segment& segment;
      explicit StageAtEnd(Segment& s) : segment(s) {}
      StageAtEnd(const StageAtEnd&) = delete;
      StageAtEnd& operator=(const StageAtEnd&) = delete;
      StageAtEnd(StageAtEnd&&) = delete;
      StageAtEnd& operator=(StageAtEnd&&) = delete;
      ~StageAtEnd() { segment.Stage(); }
    } const stage_at_end(segment);
    std::uint64_t seed = 5;
    Fill(segment.Data(), seed);
    std::byte* places[] = {a_, b_, a_};
    for (std::byte* to : places) {
      std::byte* const from = segment.Data();
      if (!segment.MoveTo(to)) {
        if (segment.Data() != from || !Holds(from, seed) || !AllZero(to, kBytes)) return kLost;
        Fill(to, 1);                                                // Mapped and writable.
        if (!segment.MoveTo(to) || !Holds(to, seed)) return kLost;  // The next try succeeds.
        return kErrorAndIntact;
      }
      if (!Holds(to, seed)) return kLost;
      if (from == a_ || from == b_)
        if (!AllZero(from, kBytes)) return kLost;
      Fill(to, ++seed);
    }
    std::byte* const last = segment.Data();
    segment.Stage();  // Cannot fail, by replacing what cannot be moved.
    return Holds(segment.Data(), seed) && AllZero(last, kBytes) ? kAllDone : kLost;
  };
  const std::byte* everything = nullptr;
  for (const test::Damage damage : {test::Damage::kNone, test::Damage::kTargetUnmapped}) {
    std::size_t errors = 0;
    std::size_t ended = 0;
    std::size_t survived = 0;
    for (std::size_t nth = 1;; ++nth) {
      ASSERT_LT(nth, 50U);
      const auto result = test::RunWithFailingMapping(everything, SIZE_MAX / 2, nth, damage, tour);
      ASSERT_TRUE(result.exited) << "signal " << result.code << " when call " << nth << " fails";
      if (!result.injected) {
        EXPECT_EQ(result.code, kAllDone);
        EXPECT_GE(result.calls, 7U) << "a tour makes at least seven such calls";
        break;
      }
      ASSERT_NE(result.code, kLost) << "call " << nth;
      errors += result.code == kErrorAndIntact ? 1 : 0;
      ended += result.code == kDamagedExitCode ? 1 : 0;
      survived += result.code == kAllDone ? 1 : 0;
    }
    EXPECT_EQ(errors,
              4U);  // Making the segment, and each of the three moves before its first step.
    EXPECT_EQ(ended,
              3U);  // Each time fresh pages for the giver's window fail: two moves and the staging.
    EXPECT_EQ(survived, 1U);  // The move back to the staging area.
  }
}

TEST_F(SegmentTest, AHundredThousandMovesLeaveNothingBehind) {
  ASSERT_TRUE(segment_->MoveTo(a_));
  Fill(a_, 3);
  std::vector<MonotonicNs> first;
  std::vector<MonotonicNs> last;
  std::size_t mappings = 0;
  std::size_t tables_kib = 0;
  std::size_t descriptors = 0;
  constexpr std::size_t kRounds = 100'000;
  for (std::size_t round = 0; round < kRounds; ++round) {
    if (round == 1000) {
      mappings = test::CountMappings();
      tables_kib = test::StatusKib("VmPTE");
      descriptors = test::CountDescriptors();
    }
    const MonotonicNs start = Now();
    ASSERT_TRUE(segment_->MoveTo(round % 2 == 0 ? b_ : a_));
    const MonotonicNs took = Now() - start;
    if (round >= 1000 && round < 6000) first.push_back(took);
    if (round >= kRounds - 5000) last.push_back(took);
  }
  EXPECT_TRUE(Holds(segment_->Data(), 3));
  EXPECT_LE(test::CountMappings(), mappings + test::kSlackMappings);
  EXPECT_LE(test::StatusKib("VmPTE"),
            tables_kib + 16 + test::kSlackTablesKib);  // The test's own samples.
  EXPECT_EQ(test::CountDescriptors(), descriptors);
  std::sort(first.begin(), first.end());
  std::sort(last.begin(), last.end());
  // A lower quartile: other work on the machine only adds.
  EXPECT_LT(last[last.size() / 4], 2 * first[first.size() / 4]);
}

TEST(SegmentBudgetTest, IsRefusedBeforeAnythingHappens) {
  Budget memory(2 * kUnitBytes);
  Budget mappings(kMappingsPerSegment);
  auto too_large = Segment::Create(3, memory, mappings);
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().code, ErrorCode::kResourceExhausted);
  const std::size_t descriptors = test::CountDescriptors();
  auto one = Segment::Create(1, memory, mappings);
  ASSERT_TRUE(one);
  auto no_mappings = Segment::Create(1, memory, mappings);
  ASSERT_FALSE(no_mappings);
  EXPECT_EQ(no_mappings.error().code, ErrorCode::kUnavailable);
  one->reset();
  EXPECT_EQ(memory.Used(), 0U);
  EXPECT_EQ(mappings.Used(), 0U);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
}

TEST(PageMoverTest, TheCrossoverLiesBetweenItsBounds) {
  if (!ProbeMoveSupport().available) GTEST_SKIP() << "this kernel cannot move pages";
  const std::size_t bytes = MeasureCrossoverBytes();
  EXPECT_GE(bytes, std::size_t{64} << 10);
  EXPECT_LE(bytes, kUnitBytes);
}

TEST(PageMoverTest, TheMappingLimitIsHalfOfTheKernels) {
  std::ifstream file("/proc/sys/vm/max_map_count");
  std::size_t count = 0;
  ASSERT_TRUE(file >> count);
  EXPECT_EQ(MappingLimit(), count / 2);
}

}  // namespace
}  // namespace cwasi::buf
