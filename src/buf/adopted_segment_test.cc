// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Segments that several workers of one trust domain know: what is accepted, who has the pages, and
// where a segment goes when its borrower is done, or dead.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "buf/guest_buffers.h"
#include "buf/page_mover.h"
#include "buf/segment.h"
#include "buf/segment_pool.h"
#include "buf/units.h"
#include "os/memfd.h"
#include "test/support/child.h"
#include "test/support/failing_mappings.h"
#include "test/support/guest_with_buffers.h"
#include "test/support/proc_self.h"
#include "test/support/temp_dir.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kUnits = 3;
constexpr std::size_t kBytes = kUnits * kUnitBytes;

UniqueFd Memfd(std::size_t bytes, int seals, unsigned flags = 0) {
  UniqueFd fd(::memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
  if (!fd.IsOpen()) return fd;
  EXPECT_EQ(::ftruncate(fd.Get(), static_cast<off_t>(bytes)), 0);
  EXPECT_EQ(::fcntl(fd.Get(), F_ADD_SEALS, seals), 0);
  return fd;
}
UniqueFd Reopen(const UniqueFd& fd, int flags) {
  return UniqueFd(::open(("/proc/self/fd/" + std::to_string(fd.Get())).c_str(), flags | O_CLOEXEC));
}
UniqueFd Dup(int fd) {
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}
constexpr int kSized = F_SEAL_SHRINK | F_SEAL_GROW;

std::byte Pattern(std::size_t at, unsigned seed) {
  return static_cast<std::byte>(seed + at * 7 + (at >> 12U));
}
void Fill(std::byte* at, std::size_t bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes; ++i) at[i] = Pattern(i, seed);
}
bool Holds(const std::byte* at, std::size_t bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes; ++i)
    if (at[i] != Pattern(i, seed)) return false;
  return true;
}
bool AllZero(const std::byte* at, std::size_t bytes) {
  return std::all_of(at, at + bytes, [](std::byte b) { return b == std::byte{0}; });
}

class AdoptedSegmentTest : public testing::Test {
 protected:
  Result<std::unique_ptr<Segment>> Adopt(UniqueFd fd, std::uint64_t units = kUnits) {
    return Segment::Adopt(std::move(fd), units, foreign_, mappings_);
  }
  std::unique_ptr<Segment> Must(Result<std::unique_ptr<Segment>> segment) {
    EXPECT_TRUE(segment) << segment.error().message;
    return segment ? std::move(*segment) : nullptr;
  }
  // Part of no guest, but mapped like the window of one.
  std::byte* Window() {
    windows_.push_back(std::move(*os::Mapping::Reserve(kBytes, kUnitBytes)));
    EXPECT_TRUE(MapPrivate(windows_.back().Base(), kBytes));
    return windows_.back().Base();
  }

  Budget memory_{std::size_t{8} << 30};
  Budget foreign_{8 * kUnitBytes};
  Budget mappings_{1000};
  std::vector<os::Mapping> windows_;
};

TEST_F(AdoptedSegmentTest, RefusesEveryOtherKindOfDescriptor) {
  const test::TempDir folder;
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
  UniqueFd disk(::open((folder.Path() / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(disk.Get(), kBytes), 0);
  const UniqueFd good = Memfd(kBytes, kSized);
  struct Case {
    const char* what;
    UniqueFd fd;
    std::uint64_t units = kUnits;
  };
  std::vector<Case> cases;
  cases.push_back({"nothing", UniqueFd()});
  cases.push_back({"pipe", UniqueFd(pipe_ends[0])});
  cases.push_back({"pipe's other end", UniqueFd(pipe_ends[1])});
  cases.push_back({"socket", UniqueFd(sockets[0])});
  cases.push_back({"socket's other end", UniqueFd(sockets[1])});
  cases.push_back({"directory", UniqueFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC))});
  cases.push_back({"device", UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC))});
  cases.push_back({"file", std::move(disk)});
  cases.push_back(
      {"file in memory", UniqueFd(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600))});
  cases.push_back({"unsealed", Memfd(kBytes, 0)});
  cases.push_back({"can grow", Memfd(kBytes, F_SEAL_SHRINK)});
  cases.push_back({"can shrink", Memfd(kBytes, F_SEAL_GROW)});
  cases.push_back({"too short", Memfd(kBytes - 1, kSized)});
  cases.push_back({"too long", Memfd(kBytes + kPageBytes, kSized)});
  cases.push_back({"read-only", Reopen(good, O_RDONLY)});
  cases.push_back({"write-only", Reopen(good, O_WRONLY)});
  cases.push_back({"a mere path", Reopen(good, O_PATH)});
  cases.push_back({"of another domain", Memfd(kBytes, kSized | F_SEAL_FUTURE_WRITE)});
  cases.push_back({"sealed against writing", Memfd(kBytes, kSized | F_SEAL_WRITE)});
  cases.push_back({"no units", Dup(good.Get()), 0});
  cases.push_back({"too many units", Dup(good.Get()), kMaxSegmentUnits + 1});
  cases.push_back({"units that overflow", Dup(good.Get()), (UINT64_MAX / kUnitBytes) + 1 + kUnits});
  // Without huge pages on this machine it can still be made and sized.
  if (UniqueFd huge = Memfd(kBytes, kSized, MFD_HUGETLB); huge.IsOpen())
    cases.push_back({"huge pages", std::move(huge)});
  for (auto& c : cases) {
    const std::size_t mappings = test::CountMappings();
    const auto segment = Adopt(std::move(c.fd), c.units);
    ASSERT_FALSE(segment) << c.what;
    EXPECT_EQ(segment.error().code, ErrorCode::kInvalidArgument) << c.what;
    EXPECT_EQ(foreign_.Used() + mappings_.Used(), 0U) << c.what;
    EXPECT_LE(test::CountMappings(), mappings + test::kSlackMappings) << c.what;
  }
  EXPECT_TRUE(Adopt(Dup(good.Get())));
}

TEST_F(AdoptedSegmentTest, MovesBetweenWindowsOfTwoProcesses) {
  if (!ProbeMoveSupport().available) GTEST_SKIP() << "this kernel cannot move pages";
  auto segment = Must(Segment::Create(kUnits, memory_, mappings_));
  ASSERT_TRUE(segment->MoveTo(Window()));
  Fill(segment->Data(), kBytes, 3);
  segment->Stage();
  const int fd = segment->DescriptorForDomain();
  const auto frames = test::PageFrames(segment->Data(), kBytes);
  EXPECT_EQ(test::InChild([&]() -> int {
              auto mine = Adopt(UniqueFd(fd));
              if (!mine) return 1;
              std::byte* const window = Window();
              (*mine)->Populate(kBytes);
              if (!(*mine)->MoveTo(window)) return 2;
              if (!Holds(window, kBytes, 3)) return 3;
              if (test::PageFrames(window, kBytes) != frames) return 4;
              Fill(window, kBytes, 4);
              (*mine)->Stage();
              return AllZero(window, kBytes) && Holds((*mine)->Data(), kBytes, 4) ? 0 : 5;
            }),
            0);
  EXPECT_TRUE(Holds(segment->Data(), kBytes, 4));
  if (frames.empty()) GTEST_SKIP() << "page frame numbers are shown to root only";
}

TEST_F(AdoptedSegmentTest, CountsAgainstTheBoundOfForeignBytesAndOfMappings) {
  const UniqueFd fd = Memfd(4 * kUnitBytes, kSized);
  auto first = Must(Adopt(Dup(fd.Get()), 4));
  auto second = Must(Adopt(Dup(fd.Get()), 4));
  EXPECT_EQ(foreign_.Used(), 8 * kUnitBytes);
  EXPECT_EQ(memory_.Used(), 0U);
  EXPECT_EQ(Adopt(Dup(fd.Get()), 4).error().code, ErrorCode::kResourceExhausted);
  second.reset();
  Budget no_mappings(kMappingsPerSegment - 1);
  EXPECT_EQ(Segment::Adopt(Dup(fd.Get()), 4, foreign_, no_mappings).error().code,
            ErrorCode::kUnavailable);
  EXPECT_EQ(foreign_.Used(), 4 * kUnitBytes);
}

TEST_F(AdoptedSegmentTest, PopulatingMapsEveryPageThatIsToBeReadAndNoneBeyond) {
  auto home = Must(Segment::Create(kUnits, memory_, mappings_));
  Fill(home->Data(), kBytes, 1);
  auto segment = Must(Adopt(Dup(home->DescriptorForDomain())));
  EXPECT_EQ(test::CountPresent(segment->Data(), kBytes), 0U);
  segment->Populate(kUnitBytes + 1);
  if (test::CountPresent(segment->Data(), kUnitBytes) == 0)
    GTEST_SKIP() << "this kernel has no MADV_POPULATE_READ";
  EXPECT_EQ(test::CountPresent(segment->Data(), kUnitBytes + kPageBytes),
            kUnitBytes / kPageBytes + 1);
  // The kernel maps the neighbours of a page too, but none of another page of tables.
  EXPECT_EQ(test::CountPresent(segment->Data() + 2 * kUnitBytes, kUnitBytes), 0U);
  segment->Populate(kBytes);
  EXPECT_EQ(test::CountPresent(segment->Data(), kBytes), kBytes / kPageBytes);
  const auto faults = test::MinorFaults();
  for (std::size_t i = 0; i < kBytes; i += kPageBytes) segment->Data()[i] = std::byte{9};
  EXPECT_LT(test::MinorFaults() - faults, 16 + test::kSlackFaults)
      << "writing faults, though the pages are mapped";
}

TEST_F(AdoptedSegmentTest, EveryFailingMappingOfAnAdoptionIsAnError) {
  const UniqueFd fd = Memfd(kBytes, kSized);
  enum Exit : int { kAdopted = 0, kError = 1, kLeaked = 2 };
  const auto adopt = [&]() -> int {
    const auto segment = Adopt(Dup(fd.Get()));
    if (segment) return kAdopted;
    return foreign_.Used() + mappings_.Used() == 0 ? kError : kLeaked;
  };
  const std::byte* everything = nullptr;
  std::size_t errors = 0;
  for (std::size_t nth = 1;; ++nth) {
    ASSERT_LT(nth, 20U);
    const auto result =
        test::RunWithFailingMapping(everything, SIZE_MAX / 2, nth, test::Damage::kNone, adopt);
    ASSERT_TRUE(result.exited);
    ASSERT_NE(result.code, kLeaked) << "call " << nth;
    if (!result.injected) {
      EXPECT_EQ(result.code, kAdopted);
      break;
    }
    errors += result.code == kError ? 1 : 0;
  }
  EXPECT_EQ(errors, 1U) << "an adoption maps once";
}

// What stands for a worker that lent a segment.
struct Lender : SegmentHome {
  void GiveBack(std::unique_ptr<Segment> segment) override {
    EXPECT_TRUE(segment->IsStaged());
    back = std::move(segment);
  }
  void Abandon(std::unique_ptr<Segment> segment) override {
    EXPECT_TRUE(segment->IsStaged());
    abandoned = std::move(segment);
  }
  std::unique_ptr<Segment> back;
  std::unique_ptr<Segment> abandoned;
};

class BorrowedSegmentTest : public AdoptedSegmentTest {
 protected:
  static PayloadMemory::Options Options() {
    PayloadMemory::Options options;
    options.foreign_bytes = 8 * kUnitBytes;
    return options;
  }
  void SetUp() override {
    if (!payloads_.Moves(kBytes)) GTEST_SKIP() << "this kernel cannot move pages";
  }
  Payload Borrow(unsigned seed) {
    UniqueFd fd = Memfd(kBytes, kSized);
    auto segment =
        Must(Segment::Adopt(std::move(fd), kUnits, payloads_.Foreign(), payloads_.Mappings()));
    Fill(segment->Data(), kBytes, seed);
    return {SegmentRef(lender_, std::move(segment)), kBytes - 10};
  }
  PayloadMemory payloads_{Options()};
  Lender lender_;
  test::GuestWithBuffers a_{payloads_};
  test::GuestWithBuffers b_{payloads_};
};

TEST_F(BorrowedSegmentTest, GoesBackToItsLenderWhenItsBufferEnds) {
  Payload payload = Borrow(1);
  const auto copies = payloads_.Copies().copies;
  const auto at_a = a_.buffers->Receive(payload, Owner::kRequest);
  ASSERT_TRUE(at_a);
  EXPECT_TRUE(Holds(a_.At(*at_a), kBytes - 10, 1));
  EXPECT_EQ(lender_.back, nullptr);
  // Forwarded inside this worker it is still the lender's.
  const auto at_b = a_.buffers->Transfer(*at_a, kBytes - 10, *b_.buffers, Owner::kRequest);
  ASSERT_TRUE(at_b);
  a_.buffers->EndRequest();
  EXPECT_EQ(lender_.back, nullptr);
  b_.buffers->EndRequest();
  ASSERT_NE(lender_.back, nullptr);
  EXPECT_TRUE(Holds(lender_.back->Data(), kBytes, 1));
  EXPECT_TRUE(AllZero(b_.At(*at_b), kBytes));
  EXPECT_EQ(payloads_.Copies().copies, copies);
  EXPECT_EQ(payloads_.Pool().GetStats().idle, 0U) << "it became this worker's own";
  EXPECT_EQ(payloads_.Foreign().Used(), kBytes) << "it is still known here";
  lender_.back.reset();
  EXPECT_EQ(payloads_.Foreign().Used(), 0U);
}

TEST_F(BorrowedSegmentTest, IsGivenBackAsAReplyWithoutItsLenderBeingTold) {
  Payload payload = Borrow(1);
  const auto address = a_.buffers->Receive(payload, Owner::kRequest);
  ASSERT_TRUE(address);
  auto reply = a_.buffers->Give(*address, 100);
  ASSERT_TRUE(reply);
  if (!payloads_.Moves(100)) {
    EXPECT_NE(lender_.back, nullptr) << "a short reply is copied and its buffer ends";
  }
  Payload again = Borrow(2);
  const auto second = a_.buffers->Receive(again, Owner::kRequest);
  ASSERT_TRUE(second);
  lender_.back.reset();
  auto whole = a_.buffers->Give(*second, kBytes - 10);
  ASSERT_TRUE(whole);
  SegmentRef ref = whole->ReleaseSegment();
  EXPECT_EQ(ref.Home(), &lender_);
  const auto segment = ref.Release();
  ASSERT_NE(segment, nullptr);
  EXPECT_TRUE(segment->IsStaged());
  EXPECT_TRUE(Holds(segment->Data(), kBytes, 2));
  EXPECT_FALSE(ref);
  EXPECT_EQ(lender_.back, nullptr);
}

TEST_F(BorrowedSegmentTest, OfAnInstanceThatEndsGoesBackToo) {
  Payload payload = Borrow(1);
  std::optional<test::GuestWithBuffers> guest(std::in_place, payloads_);
  ASSERT_TRUE(guest->buffers->Receive(payload, Owner::kGuest));
  guest.reset();
  EXPECT_NE(lender_.back, nullptr);
}

TEST_F(BorrowedSegmentTest, AbandonedGoesToItsLenderToBeDestroyed) {
  Payload payload = Borrow(1);
  SegmentRef ref = payload.ReleaseSegment();
  ASSERT_TRUE(ref->MoveTo(Window()));
  ref.Abandon();
  EXPECT_FALSE(ref);
  EXPECT_NE(lender_.abandoned, nullptr);
  EXPECT_EQ(lender_.back, nullptr);
}

struct Watcher : SegmentWatcher {
  void Closing(const Segment& segment) override { closing.push_back(&segment); }
  std::vector<const Segment*> closing;
};

TEST_F(BorrowedSegmentTest, ALentOneWhosePeerDiedIsNeverRecycled) {
  Watcher watcher;
  payloads_.Pool().SetWatcher(&watcher);
  const std::size_t descriptors = test::CountDescriptors();
  auto made = payloads_.Pool().Take(kBytes, Zero::kNo);
  ASSERT_TRUE(made);
  SegmentRef lent = std::move(*made);
  const Segment* const segment = &*lent;
  // The borrower keeps it mapped after its death was noticed here, as a stopped process can.
  const auto still_mapped = Must(Adopt(Dup(lent->DescriptorForDomain())));
  lent.Abandon();
  EXPECT_EQ(watcher.closing, std::vector{segment});
  const auto stats = payloads_.Pool().GetStats();
  EXPECT_EQ(stats.abandoned, 1U);
  EXPECT_EQ(stats.in_use, 0U);
  EXPECT_EQ(stats.idle, 0U);
  EXPECT_EQ(payloads_.Memory().Used(), 2 * 65536U) << "two guests, no segment";
  EXPECT_EQ(test::CountDescriptors(), descriptors + 1);
  const auto next = payloads_.Pool().Take(kBytes, Zero::kNo);
  ASSERT_TRUE(next);
  EXPECT_EQ(payloads_.Pool().GetStats().recycled, 0U);
  Fill((*next)->Data(), kBytes, 5);
  EXPECT_TRUE(AllZero(still_mapped->Data(), kBytes)) << "a dead worker sees a new payload";
  payloads_.Pool().SetWatcher(nullptr);
}

TEST_F(BorrowedSegmentTest, OthersAreToldWhenASegmentThatTheyHaveMappedIsClosed) {
  Watcher watcher;
  payloads_.Pool().SetWatcher(&watcher);
  auto known = std::move(*payloads_.Pool().Take(kBytes, Zero::kNo));
  auto own = std::move(*payloads_.Pool().Take(kBytes, Zero::kNo));
  const Segment* const segment = &*known;
  static_cast<void>(known->DescriptorForDomain());
  known.Reset();
  own.Reset();
  EXPECT_TRUE(watcher.closing.empty());
  payloads_.Pool().Trim(payloads_.Pool().NextTrim() + 1'000'000'000);
  EXPECT_EQ(payloads_.Pool().GetStats().idle, 0U);
  EXPECT_EQ(watcher.closing, std::vector{segment});
  payloads_.Pool().SetWatcher(nullptr);
}

}  // namespace
}  // namespace cwasi::buf
