// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Between trust domains: a segment has one writer and one edge, and its taker copies once. The
// other side is a process that tries everything.

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "buf/foreign_view.h"
#include "buf/guest_buffers.h"
#include "buf/page_mover.h"
#include "buf/segment_pool.h"
#include "buf/units.h"
#include "test/support/child.h"
#include "test/support/failing_mappings.h"
#include "test/support/guest_with_buffers.h"
#include "test/support/proc_self.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kUnits = 3;
constexpr std::size_t kBytes = kUnits * kUnitBytes;
constexpr std::size_t kPayload = 2 * kUnitBytes + 12345;
constexpr int kAllSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

UniqueFd Dup(int fd) {
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}
bool AllAre(const std::byte* at, std::size_t bytes, unsigned value) {
  return std::all_of(at, at + bytes,
                     [&](std::byte b) { return b == static_cast<std::byte>(value); });
}

class EdgeSegmentTest : public testing::Test {
 protected:
  SegmentRef Take(EdgePool& pool, std::size_t bytes = kBytes) {
    auto segment = pool.Take(bytes, Zero::kNo);
    EXPECT_TRUE(segment) << segment.error().message;
    return segment ? std::move(*segment) : SegmentRef();
  }
  // What the taker has of it: as if it came over a socket.
  ForeignView Open(int fd, std::uint64_t units = kUnits) {
    auto view = ForeignView::Open(Dup(fd), units, payloads_.Foreign(), payloads_.Mappings());
    EXPECT_TRUE(view) << view.error().message;
    return std::move(*view);
  }
  static int MustLeave(SegmentRef& segment, std::size_t bytes) {
    const auto fd = segment->DescriptorForPeer(bytes);
    EXPECT_TRUE(fd) << fd.error().message;
    return fd.value_or(-1);
  }

  PayloadMemory payloads_{{}};
  EdgePool edge_{payloads_.Memory(), payloads_.Mappings(), {}};
};

TEST_F(EdgeSegmentTest, IsSealedBeforeItsDescriptorLeavesAndOnlyThen) {
  auto segment = Take(edge_);
  EXPECT_FALSE(segment->HasLeft());
  const int fd = MustLeave(segment, kBytes);
  EXPECT_TRUE(segment->HasLeft());
  EXPECT_EQ(::fcntl(fd, F_GET_SEALS) & kAllSeals, kAllSeals);
  EXPECT_EQ(MustLeave(segment, kBytes), fd) << "the second giving needs no second sealing";
}

TEST_F(EdgeSegmentTest, ItsGiverGoesOnWritingIt) {
  auto segment = Take(edge_);
  const ForeignView view = Open(MustLeave(segment, kBytes));
  std::memset(segment->Data(), 1, kBytes);
  EXPECT_TRUE(AllAre(view.First(kBytes)->data(), kBytes, 1));
  if (!payloads_.Moves(kBytes)) GTEST_SKIP() << "this kernel cannot move pages";
  const auto window = std::move(*os::Mapping::Reserve(kBytes, kUnitBytes));
  ASSERT_TRUE(MapPrivate(window.Base(), kBytes));
  for (unsigned round = 2; round < 5; ++round) {
    ASSERT_TRUE(segment->MoveTo(window.Base()));
    std::memset(window.Base(), static_cast<int>(round), kBytes);
    EXPECT_TRUE(AllAre(view.First(kBytes)->data(), kBytes, round));
    segment->Stage();
    EXPECT_TRUE(AllAre(window.Base(), kBytes, 0));
  }
}

// No new writable mapping of a sealed file can be made, so the way out of a failed move must not
// need one.
TEST_F(EdgeSegmentTest, AFailedMoveBackLosesNoByteAndLeavesItWritable) {
  if (!payloads_.Moves(kBytes)) GTEST_SKIP() << "this kernel cannot move pages";
  enum Exit : int { kAllDone = 0, kError = 1, kLost = 2 };
  const auto tour = [&]() -> int {
    auto pool_segment = edge_.Take(kBytes, Zero::kNo);  // A fork does not inherit segments.
    if (!pool_segment) return kError;
    SegmentRef segment = std::move(*pool_segment);
    if (!segment->DescriptorForPeer(kBytes)) return kError;
    const auto window = std::move(*os::Mapping::Reserve(kBytes, kUnitBytes));
    if (!MapPrivate(window.Base(), kBytes) || !segment->MoveTo(window.Base())) return kError;
    std::memset(window.Base(), 7, kBytes);
    segment->Stage();
    if (!AllAre(segment->Data(), kBytes, 7) || !AllAre(window.Base(), kBytes, 0)) return kLost;
    std::memset(segment->Data(), 8, kBytes);
    if (!segment->MoveTo(window.Base())) return kError;
    const bool arrived = AllAre(window.Base(), kBytes, 8);
    segment->Stage();
    return arrived ? kAllDone : kLost;
  };
  const std::byte* everything = nullptr;
  for (const auto damage : {test::Damage::kNone, test::Damage::kTargetUnmapped}) {
    std::size_t survived = 0;
    for (std::size_t nth = 1;; ++nth) {
      ASSERT_LT(nth, 50U);
      const auto result = test::RunWithFailingMapping(everything, SIZE_MAX / 2, nth, damage, tour);
      ASSERT_TRUE(result.exited) << "signal " << result.code << " when call " << nth << " fails";
      ASSERT_NE(result.code, kLost) << "call " << nth;
      if (!result.injected) {
        EXPECT_EQ(result.code, kAllDone);
        break;
      }
      survived += result.code == kAllDone ? 1 : 0;
    }
    EXPECT_EQ(survived, 2U) << "both moves back to the staging area";
  }
}

// Each of these succeeds on a segment of the taker's own domain.
TEST_F(EdgeSegmentTest, ItsTakerCanNeitherWriteItNorTakeItsPagesAway) {
  auto segment = Take(edge_);
  std::memset(segment->Data(), 1, kBytes);
  const int fd = MustLeave(segment, kBytes);
  const int code = test::InChild([&]() -> int {
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    const UniqueFd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    const UniqueFd read_only(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const UniqueFd truncating(::open(path.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC));
    const char evil = 9;
    int attempt = 0;
    for (const int f : {fd, again.Get(), read_only.Get()}) {
      if (f < 0) continue;
      attempt += 20;
      void* shared = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, f, 0);
      if (shared == MAP_FAILED) return attempt + 1;
      if (::mprotect(shared, kBytes, PROT_READ | PROT_WRITE) == 0) return attempt + 2;
      if (::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0) != MAP_FAILED)
        return attempt + 3;
      if (::madvise(shared, kPageBytes, MADV_REMOVE) == 0) return attempt + 4;
      if (::pwrite(f, &evil, 1, 0) >= 0) return attempt + 5;
      if (::ftruncate(f, 0) == 0 || ::ftruncate(f, 2 * kBytes) == 0) return attempt + 6;
      if (::fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPageBytes) == 0)
        return attempt + 7;
      if (::fallocate(f, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, kPageBytes) == 0)
        return attempt + 8;
      if (::fcntl(f, F_ADD_SEALS, F_SEAL_WRITE) == 0) return attempt + 9;
      // A mapping made by mremap of the read-only one is read-only too.
      void* twin = ::mremap(shared, 0, kBytes, MREMAP_MAYMOVE);
      if (twin != MAP_FAILED && ::mprotect(twin, kBytes, PROT_READ | PROT_WRITE) == 0)
        return attempt + 10;
      // Through the kernel, which writes on behalf of a debugger past the protection of private
      // mappings.
      const UniqueFd self(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
      if (self.IsOpen() &&
          ::pwrite(self.Get(), &evil, 1,
                   static_cast<off_t>(reinterpret_cast<std::uintptr_t>(shared))) > 0)
        return attempt + 11;
      // A private one can be written, and only its owner sees it.
      void* own = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
      if (own == MAP_FAILED) return attempt + 12;
      std::memset(own, 9, kBytes);
      ::munmap(own, kBytes);
    }
    return truncating.IsOpen() ? 1 : 0;
  });
  EXPECT_EQ(code, 0);
  EXPECT_TRUE(AllAre(segment->Data(), kBytes, 1));
}

TEST_F(EdgeSegmentTest, ItsTakerAcceptsNothingThatCouldChangeUnderIt) {
  auto segment = Take(edge_);
  const int good = MustLeave(segment, kBytes);
  const auto open = [&](UniqueFd fd, std::uint64_t units) {
    auto view = ForeignView::Open(std::move(fd), units, payloads_.Foreign(), payloads_.Mappings());
    return view ? std::optional<ErrorCode>() : view.error().code;
  };
  for (const int missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL}) {
    UniqueFd fd(::memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::ftruncate(fd.Get(), kBytes), 0);
    ASSERT_EQ(::fcntl(fd.Get(), F_ADD_SEALS, kAllSeals & ~missing), 0);
    EXPECT_EQ(open(std::move(fd), kUnits), ErrorCode::kInvalidArgument) << missing;
  }
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  EXPECT_EQ(open(UniqueFd(pipe_ends[0]), kUnits), ErrorCode::kInvalidArgument);
  EXPECT_EQ(open(UniqueFd(pipe_ends[1]), kUnits), ErrorCode::kInvalidArgument);
  EXPECT_EQ(open(UniqueFd(), kUnits), ErrorCode::kInvalidArgument);
  EXPECT_EQ(open(UniqueFd(::open("/", O_RDONLY | O_CLOEXEC)), kUnits), ErrorCode::kInvalidArgument);
  const std::string path = "/proc/self/fd/" + std::to_string(good);
  EXPECT_EQ(open(UniqueFd(::open(path.c_str(), O_PATH | O_CLOEXEC)), kUnits),
            ErrorCode::kInvalidArgument);
  for (const std::uint64_t units :
       {std::uint64_t{0}, std::uint64_t{kUnits - 1}, std::uint64_t{kUnits + 1},
        std::uint64_t{kMaxSegmentUnits + 1}, (UINT64_MAX / kUnitBytes) + 1 + kUnits})
    EXPECT_EQ(open(Dup(good), units), ErrorCode::kInvalidArgument) << units;
  EXPECT_EQ(payloads_.Foreign().Used(), 0U);
  EXPECT_TRUE(ForeignView::Open(Dup(good), kUnits, payloads_.Foreign(), payloads_.Mappings()));
  Budget none(kBytes - 1);
  EXPECT_EQ(ForeignView::Open(Dup(good), kUnits, none, payloads_.Mappings()).error().code,
            ErrorCode::kResourceExhausted);
  EXPECT_EQ(ForeignView::Open(Dup(good), kUnits, payloads_.Foreign(), *std::make_unique<Budget>(0))
                .error()
                .code,
            ErrorCode::kUnavailable);
}

TEST_F(EdgeSegmentTest, ItsTakersGuestSeesOneStableCopyWhateverTheGiverWrites) {
  // A giver in a process of its own that never stops writing.
  int to_parent[2];
  ASSERT_EQ(::pipe2(to_parent, O_CLOEXEC), 0);
  UniqueFd fd(::memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(fd.Get(), kBytes), 0);
  const pid_t giver = ::fork();
  ASSERT_GE(giver, 0);
  if (giver == 0) {
    void* mapped = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.Get(), 0);
    if (mapped == MAP_FAILED || ::fcntl(fd.Get(), F_ADD_SEALS, kAllSeals) != 0) ::_exit(1);
    for (unsigned value = 1;; ++value) {
      std::memset(mapped, static_cast<int>(value % 250 + 1), kBytes);
      if (value == 1 && ::write(to_parent[1], "x", 1) != 1) ::_exit(2);
    }
  }
  char ready = 0;
  ASSERT_EQ(::read(to_parent[0], &ready, 1), 1);
  const ForeignView view = Open(fd.Get());
  test::GuestWithBuffers taker(payloads_);
  bool giver_wrote = false;
  std::vector<std::byte> before(kPayload);
  for (int round = 0; round < 20; ++round) {
    const auto copies = payloads_.Copies().copies;
    const auto address = taker.buffers->ReceiveForeign(view, kPayload, Owner::kRequest);
    ASSERT_TRUE(address) << address.error().message;
    EXPECT_EQ(payloads_.Copies().copies, copies + 1);
    const std::vector<std::byte> first(taker.At(*address), taker.At(*address) + kPayload);
    const std::vector<std::byte> source(view.First(kPayload)->begin(), view.First(kPayload)->end());
    giver_wrote = giver_wrote || (!before.empty() && source != before);
    before = source;
    EXPECT_EQ(std::memcmp(first.data(), taker.At(*address), kPayload), 0);
    taker.buffers->EndRequest();
  }
  EXPECT_TRUE(giver_wrote);
  ::kill(giver, SIGKILL);
  ASSERT_EQ(::waitpid(giver, nullptr, 0), giver);
  ::close(to_parent[0]);
  ::close(to_parent[1]);
}

TEST_F(EdgeSegmentTest, ItsTakersGuestGetsExactlyThePayload) {
  test::GuestWithBuffers giver(payloads_);
  test::GuestWithBuffers taker(payloads_);
  const auto from = giver.buffers->New(kBytes, Owner::kGuest, edge_);
  ASSERT_TRUE(from);
  std::memset(giver.At(*from), 0xab, kBytes);
  auto payload = giver.buffers->Give(*from, kPayload, &edge_);
  ASSERT_TRUE(payload);
  if (!payload->IsSegment()) GTEST_SKIP() << "this kernel cannot move pages";
  SegmentRef segment = payload->ReleaseSegment();
  EXPECT_EQ(segment.Home(), &edge_);
  const auto copies = payloads_.Copies();
  const ForeignView view = Open(MustLeave(segment, kPayload));
  const auto to = taker.buffers->ReceiveForeign(view, kPayload, Owner::kRequest);
  ASSERT_TRUE(to);
  EXPECT_EQ(payloads_.Copies().copies - copies.copies, 1U);
  EXPECT_EQ(payloads_.Copies().bytes - copies.bytes, kPayload);
  EXPECT_TRUE(AllAre(taker.At(*to), kPayload, 0xab));
  EXPECT_TRUE(AllAre(taker.At(*to) + kPayload, kBytes - kPayload, 0));
  EXPECT_EQ(taker.buffers->ReceiveForeign(view, kBytes + 1, Owner::kRequest).error().code,
            ErrorCode::kInvalidArgument);
  std::vector<std::byte> out(100);
  EXPECT_TRUE(view.CopyOut(out.data(), out.size(), payloads_));
  EXPECT_TRUE(AllAre(out.data(), out.size(), 0xab));
  EXPECT_EQ(view.CopyOut(out.data(), SIZE_MAX, payloads_).error().code,
            ErrorCode::kInvalidArgument);
}

TEST_F(EdgeSegmentTest, BytesBeyondThePayloadAreNotThereToBeSeen) {
  auto segment = Take(edge_);
  std::memset(segment->Data(), 0xab, kBytes);
  const ForeignView view = Open(MustLeave(segment, kPayload));
  EXPECT_TRUE(AllAre(view.First(kBytes)->data(), kPayload, 0xab));
  EXPECT_TRUE(AllAre(view.First(kBytes)->data() + kPayload, kBytes - kPayload, 0));
  // Shorter the next time: what the taker had is gone, and nothing else is there.
  MustLeave(segment, 100);
  EXPECT_TRUE(AllAre(view.First(kBytes)->data(), 100, 0xab));
  EXPECT_TRUE(AllAre(view.First(kBytes)->data() + 100, kBytes - 100, 0));
}

TEST_F(EdgeSegmentTest, WhatWasWrittenButNeverGivenIsNotInTheNextPayload) {
  auto segment = Take(edge_);
  const ForeignView view = Open(MustLeave(segment, 1));
  segment.Reset();
  segment = Take(edge_);
  std::memset(segment->Data(), 0xab, kBytes);
  segment.Reset();
  segment = Take(edge_);
  ASSERT_EQ(edge_.GetStats().recycled, 2U);
  segment->Data()[7] = std::byte{1};
  MustLeave(segment, kBytes);
  std::vector<std::byte> expected(kBytes);
  expected[7] = std::byte{1};
  EXPECT_EQ(std::memcmp(view.First(kBytes)->data(), expected.data(), kBytes), 0);
}

TEST_F(EdgeSegmentTest, HidingCostsNoPageThatWasNotThere) {
  auto segment = Take(edge_);
  segment->Data()[0] = std::byte{1};
  MustLeave(segment, 1);
  EXPECT_LE(test::CountPresent(segment->Data(), kBytes), 1U);
}

TEST_F(EdgeSegmentTest, NeverServesAnotherEdgeOrItsOwnDomain) {
  EdgePool other(payloads_.Memory(), payloads_.Mappings(), {});
  const Segment* first = nullptr;
  {
    auto segment = Take(edge_);
    first = &*segment;
    MustLeave(segment, kBytes);
    EXPECT_DEATH(static_cast<void>(segment->DescriptorForDomain()), "");
  }
  const auto at_other = Take(other);
  auto of_domain = payloads_.Pool().Take(kBytes, Zero::kNo);
  ASSERT_TRUE(of_domain);
  EXPECT_NE(&*at_other, first);
  EXPECT_NE(&**of_domain, first);
  EXPECT_DEATH(static_cast<void>((*of_domain)->DescriptorForPeer(1)), "");
  const auto again = Take(edge_);
  EXPECT_EQ(&*again, first);
}

TEST_F(EdgeSegmentTest, EndsWithItsEdge) {
  const std::size_t used = payloads_.Memory().Used();
  const std::size_t descriptors = test::CountDescriptors();
  auto in_use = Take(edge_);
  {
    auto idle = Take(edge_);
    MustLeave(idle, kBytes);
    MustLeave(in_use, kBytes);
  }
  edge_.Close();
  EXPECT_EQ(edge_.GetStats().idle, 0U);
  EXPECT_EQ(edge_.GetStats().in_use, 1U);
  in_use.Reset();
  EXPECT_EQ(edge_.GetStats().idle, 0U);
  EXPECT_EQ(payloads_.Memory().Used(), used);
  EXPECT_EQ(test::CountDescriptors(), descriptors);
}

}  // namespace
}  // namespace cwasi::buf
