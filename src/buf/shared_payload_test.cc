// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Broadcast: one payload, many guests that each may write to what they see, stored once.

#include "buf/shared_payload.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "buf/guest_buffers.h"
#include "buf/page_mover.h"
#include "buf/page_scan.h"
#include "buf/units.h"
#include "buf/view_history.h"
#include "os/memfd.h"
#include "test/support/child.h"
#include "test/support/failing_mappings.h"
#include "test/support/guest_with_buffers.h"
#include "test/support/proc_self.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kBytes = 5 * kUnitBytes + 123;
constexpr std::size_t kPages = RoundUp(kBytes, kPageBytes) / kPageBytes;

void Fill(std::byte* at, std::size_t bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes; ++i) at[i] = static_cast<std::byte>(seed + i * 7 + (i >> 12U));
}
bool Holds(const std::byte* at, std::size_t bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes; ++i)
    if (at[i] != static_cast<std::byte>(seed + i * 7 + (i >> 12U))) return false;
  return true;
}
bool AllZero(const std::byte* at, std::size_t bytes) {
  return std::all_of(at, at + bytes, [](std::byte b) { return b == std::byte{0}; });
}

// Twice: with PAGEMAP_SCAN where the kernel has it, and without.
class SharedPayloadTest : public testing::TestWithParam<PageScanner::Use> {
 protected:
  static PayloadMemory::Options Options(std::size_t mappings = 2000) {
    PayloadMemory::Options options;
    options.mappings = mappings;
    options.scan = GetParam();
    return options;
  }
  void SetUp() override {
    if (!payloads_.Moves(kBytes)) GTEST_SKIP() << "this kernel cannot move pages";
  }
  SharedPayload Make(unsigned seed, std::size_t bytes = kBytes) {
    std::vector<std::byte> source(bytes);
    Fill(source.data(), bytes, seed);
    auto payload = Payload::CopyOf(source, payloads_);
    EXPECT_TRUE(payload) << payload.error().message;
    return SharedPayload(std::move(*payload));
  }
  std::uint32_t View(test::GuestWithBuffers& guest, const SharedPayload& payload,
                     Owner owner = Owner::kRequest) {
    const auto address = guest.buffers->ReceiveView(payload, owner, history_);
    EXPECT_TRUE(address) << address.error().message;
    return address.value_or(0);
  }
  bool Counts() {
    const auto scratch = std::move(*os::Mapping::Reserve(kUnitBytes, kUnitBytes));
    const UniqueFd fd = std::move(*os::CreateSealedMemfd("scratch", kUnitBytes));
    EXPECT_TRUE(MapCopyOnWrite(scratch.Base(), kUnitBytes, fd.Get()));
    return payloads_.Scanner().DropPrivatePages(scratch.Base(), kUnitBytes).has_value();
  }

  PayloadMemory payloads_{Options()};
  ViewHistory history_;
  test::GuestWithBuffers a_{payloads_};
  test::GuestWithBuffers b_{payloads_};
};
INSTANTIATE_TEST_SUITE_P(Scan, SharedPayloadTest,
                         testing::Values(PageScanner::Use::kIfAvailable, PageScanner::Use::kNever),
                         [](const auto& use) {
                           return use.param == PageScanner::Use::kNever ? "Without" : "With";
                         });

TEST_P(SharedPayloadTest, EachGuestKeepsWhatItWritesToItself) {
  const SharedPayload payload = Make(1);
  const auto copies = payloads_.Copies().copies;
  const std::uint32_t at_a = View(a_, payload);
  const std::uint32_t at_b = View(b_, payload);
  EXPECT_EQ(payload.LiveViews(), 2U);
  EXPECT_TRUE(Holds(a_.At(at_a), kBytes, 1));
  Fill(a_.At(at_a), kBytes, 2);
  EXPECT_TRUE(Holds(a_.At(at_a), kBytes, 2));
  EXPECT_TRUE(Holds(b_.At(at_b), kBytes, 1));
  EXPECT_TRUE(Holds(payload.Bytes().data(), kBytes, 1));
  EXPECT_EQ(payloads_.Copies().copies, copies);
}

TEST_P(SharedPayloadTest, WhatAGuestWroteIsGoneWhenItsViewIsUsedAgain) {
  const SharedPayload payload = Make(1);
  const std::uint32_t first = View(a_, payload);
  a_.At(first)[0] = std::byte{0xee};
  a_.At(first)[kBytes - 1] = std::byte{0xee};
  a_.buffers->EndRequest();
  EXPECT_EQ(payload.LiveViews(), 0U);
  EXPECT_TRUE(Holds(a_.At(first), kBytes, 1)) << "written pages are gone with the buffer";
  // The buffer has ended; nothing keeps the guest from writing there all the same.
  a_.At(first)[kUnitBytes] = std::byte{0xee};
  const std::uint32_t second = View(a_, payload);
  EXPECT_EQ(second, first);
  EXPECT_EQ(payloads_.Views().reused, 1U);
  EXPECT_EQ(payloads_.Views().mapped, 1U);
  EXPECT_TRUE(Holds(a_.At(second), kBytes, 1));
}

TEST_P(SharedPayloadTest, AUsedAgainViewNeedsNoFaultsToBeRead) {
  if (!Counts()) GTEST_SKIP() << "without PAGEMAP_SCAN all its pages are dropped";
  const SharedPayload payload = Make(1);
  const std::uint32_t address = View(a_, payload);
  ASSERT_TRUE(Holds(a_.At(address), kBytes, 1));
  a_.At(address)[kUnitBytes] = std::byte{0xee};
  a_.buffers->EndRequest();
  ASSERT_EQ(View(a_, payload), address);
  EXPECT_EQ(test::CountPresent(a_.At(address), kPages * kPageBytes), kPages - 1);
}

TEST_P(SharedPayloadTest, TheSegmentIsNotWrittenWhileAViewLives) {
  SharedPayload payload = Make(1);
  const std::uint32_t at_a = View(a_, payload, Owner::kGuest);
  payload.Reset();
  EXPECT_EQ(payloads_.Pool().GetStats().in_use, 1U) << "its segment was recycled under a view";
  const SharedPayload next = Make(9);
  EXPECT_TRUE(Holds(a_.At(at_a), kBytes, 1));
  EXPECT_TRUE(a_.buffers->Free(at_a));
  EXPECT_EQ(payloads_.Pool().GetStats().in_use, 1U);
  EXPECT_EQ(payloads_.Pool().GetStats().idle, 1U);
}

TEST_P(SharedPayloadTest, AnEndedViewLeavesPagesOfTheGuestsOwn) {
  std::uint32_t address = 0;
  {
    const SharedPayload payload = Make(1);
    address = View(a_, payload);
    a_.buffers->EndRequest();
    EXPECT_EQ(a_.buffers->GetStats().kept_views, 1U);
  }
  EXPECT_EQ(a_.buffers->GetStats().kept_views, 0U) << "a kept view holds a payload nobody has";
  EXPECT_EQ(payloads_.Pool().GetStats().in_use, 0U);
  EXPECT_TRUE(AllZero(a_.At(address), RoundUp(kBytes, kPageBytes)));
  std::memset(a_.At(address), 0xee, kBytes);
  auto recycled = payloads_.Pool().Take(kBytes, Zero::kNo);
  ASSERT_TRUE(recycled);
  ASSERT_EQ(payloads_.Pool().GetStats().recycled, 1U);
  EXPECT_TRUE(Holds((*recycled)->Data(), kBytes, 1));
  Fill((*recycled)->Data(), kBytes, 5);
  EXPECT_TRUE(std::all_of(a_.At(address), a_.At(address) + kBytes,
                          [](std::byte b) { return b == std::byte{0xee}; }));
}

TEST_P(SharedPayloadTest, OutlivesAnInstanceThatHasAView) {
  const SharedPayload payload = Make(1);
  std::optional<test::GuestWithBuffers> guest(std::in_place, payloads_);
  View(*guest, payload, Owner::kGuest);
  View(*guest, payload);
  guest->buffers->EndRequest();
  EXPECT_EQ(payload.LiveViews(), 1U);
  const std::size_t used = payloads_.Mappings().Used();
  guest.reset();
  EXPECT_EQ(payload.LiveViews(), 0U);
  EXPECT_LT(payloads_.Mappings().Used(), used);
  EXPECT_TRUE(Holds(payload.Bytes().data(), kBytes, 1));
}

TEST_P(SharedPayloadTest, MovingAViewOnMakesACopyThatIsCounted) {
  const SharedPayload payload = Make(1);
  auto copies = payloads_.Copies();
  const std::uint32_t first = View(a_, payload);
  a_.At(first)[5] = std::byte{0xee};
  const auto given = a_.buffers->Give(first, kBytes);
  ASSERT_TRUE(given);
  EXPECT_EQ(given->Bytes()[5], std::byte{0xee}) << "the copy has what its guest wrote";
  EXPECT_EQ(payloads_.Copies().copies - copies.copies, 1U);
  EXPECT_EQ(a_.buffers->Free(first).error().code, ErrorCode::kInvalidArgument);
  const std::uint32_t second = View(a_, payload);
  const auto at_b = a_.buffers->Transfer(second, kBytes, *b_.buffers, Owner::kRequest);
  ASSERT_TRUE(at_b);
  EXPECT_EQ(payloads_.Copies().copies - copies.copies, 2U);
  Fill(b_.At(*at_b), kBytes, 3);
  EXPECT_TRUE(Holds(payload.Bytes().data(), kBytes, 1));
}

TEST_P(SharedPayloadTest, ItsLastTakerGetsThePayloadItself) {
  SharedPayload payload = Make(1);
  SharedPayload other = payload.Share();
  EXPECT_FALSE(payload.Take()) << "there is another handle";
  other.Reset();
  const std::uint32_t address = View(a_, payload);
  EXPECT_FALSE(payload.Take()) << "there is a view";
  EXPECT_TRUE(a_.buffers->Free(address));
  EXPECT_EQ(a_.buffers->GetStats().kept_views, 1U);
  auto last = payload.Take();
  ASSERT_TRUE(last);
  EXPECT_FALSE(payload);
  EXPECT_EQ(a_.buffers->GetStats().kept_views, 0U);
  const auto copies = payloads_.Copies().copies;
  const auto at_b = b_.buffers->Receive(*last, Owner::kRequest);
  ASSERT_TRUE(at_b);
  EXPECT_TRUE(Holds(b_.At(*at_b), kBytes, 1));
  EXPECT_EQ(payloads_.Copies().copies, copies);
}

TEST_P(SharedPayloadTest, AShortPayloadIsCopied) {
  const SharedPayload payload = Make(1, 100);
  const auto copies = payloads_.Copies().copies;
  const std::uint32_t address = View(a_, payload);
  EXPECT_TRUE(Holds(a_.At(address), 100, 1));
  EXPECT_EQ(payloads_.Copies().copies, copies + 1);
  EXPECT_EQ(payload.LiveViews(), 0U);
  const SharedPayload empty{Payload()};
  EXPECT_EQ(View(a_, empty), 0U);
}

TEST_P(SharedPayloadTest, IsRefusedBeyondTheBudgetOfMappings) {
  PayloadMemory payloads(Options(kMappingsPerMemory + kMappingsPerSegment + kMappingsPerView + 1));
  test::GuestWithBuffers guest(payloads);
  auto payload = Payload::CopyOf(std::vector<std::byte>(kBytes), payloads);
  ASSERT_TRUE(payload);
  const SharedPayload shared(std::move(*payload));
  const auto first = guest.buffers->ReceiveView(shared, Owner::kGuest, history_);
  ASSERT_TRUE(first);
  const auto second = guest.buffers->ReceiveView(shared, Owner::kGuest, history_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(shared.LiveViews(), 1U);
  EXPECT_TRUE(guest.buffers->Free(*first));
  EXPECT_TRUE(guest.buffers->ReceiveView(shared, Owner::kGuest, history_));
}

TEST_P(SharedPayloadTest, KeepsABoundedNumberOfViewsAndGivesTheirRoomUp) {
  std::vector<SharedPayload> payloads;
  for (std::size_t i = 0; i < GuestBuffers::kMaxKeptViews + 2; ++i) {
    payloads.push_back(Make(static_cast<unsigned>(i)));
    View(a_, payloads.back());
  }
  a_.buffers->EndRequest();
  EXPECT_EQ(a_.buffers->GetStats().kept_views, GuestBuffers::kMaxKeptViews);
  const std::size_t arenas = a_.buffers->GetStats().arena_bytes;
  // Larger than what is free, smaller than what is free without the kept views.
  const auto large = a_.buffers->New(arenas - kUnitBytes, Owner::kGuest);
  ASSERT_TRUE(large);
  EXPECT_EQ(a_.buffers->GetStats().arena_bytes, arenas) << "asked for memory it did not need";
  EXPECT_TRUE(a_.buffers->Free(*large));
  View(a_, payloads[0]);
  a_.buffers->EndRequest();
  EXPECT_EQ(a_.buffers->GetStats().kept_views, 1U);
  a_.buffers->Trim();
  EXPECT_EQ(a_.buffers->GetStats().kept_views, 0U);
}

TEST_P(SharedPayloadTest, HidesFormerBytesWhereZerosAreAskedFor) {
  Make(0xee, 6 * kUnitBytes).Reset();
  const SharedPayload payload = Make(1);
  ASSERT_EQ(payloads_.Pool().GetStats().recycled, 1U);
  test::GuestWithBuffers careful(payloads_, Zero::kAlways);
  for (int round = 0; round < 2; ++round) {
    const std::uint32_t address = View(careful, payload);
    EXPECT_TRUE(AllZero(careful.At(address) + kBytes, RoundUp(kBytes, kUnitBytes) - kBytes));
    EXPECT_TRUE(Holds(careful.At(address), kBytes, 1));
    careful.buffers->EndRequest();
  }
}

TEST_P(SharedPayloadTest, ACalleeThatMostlyWritesGetsACopyNextTime) {
  if (!Counts()) GTEST_SKIP() << "nothing is known without PAGEMAP_SCAN";
  const SharedPayload payload = Make(1);
  const auto call = [&] {
    const auto copies = payloads_.Copies().copies;
    const std::uint32_t address = View(a_, payload);
    EXPECT_TRUE(Holds(a_.At(address), kBytes, 1));
    Fill(a_.At(address), kBytes, 2);
    a_.buffers->EndRequest();
    return payloads_.Copies().copies - copies;
  };
  EXPECT_EQ(call(), 0U);
  EXPECT_EQ(history_.WrittenShare(), 1.0);
  EXPECT_EQ(payloads_.Views().written_pages, kPages);
  for (std::uint32_t i = 0; i < ViewHistory::kRetryAfter; ++i) EXPECT_EQ(call(), 1U) << i;
  EXPECT_EQ(call(), 0U) << "it may have changed its ways";
}

TEST_P(SharedPayloadTest, IsNeitherInheritedByAForkNorDumped) {
  const SharedPayload payload = Make(1);
  const std::uint32_t address = View(a_, payload);
  const std::string flags = test::MappingFlags(a_.At(address));
  EXPECT_NE(flags.find(" dc"), std::string::npos) << flags;
  EXPECT_NE(flags.find(" dd"), std::string::npos) << flags;
}

// Each mapping call on the way of a view in turn fails: an error with nothing changed, or the end
// of the process. Never does a guest see another's bytes or keep a view that has ended.
TEST_P(SharedPayloadTest, EveryFailingMappingIsAnErrorOrTheEndOfTheProcess) {
  enum Exit : int { kAllDone = 0, kErrorAndIntact = 1, kLost = 2 };
  // Not in the tour: a sanitizer maps memory for what is allocated.
  std::vector<std::byte> source(kBytes);
  Fill(source.data(), kBytes, 1);
  const auto tour = [&]() -> int {
    PayloadMemory payloads{[] {
      auto options = Options();
      options.ability =
          MoveAbility{.support = {.available = true, .reason = ""}, .crossover_bytes = 256 << 10};
      return options;
    }()};
    ViewHistory histories[2];  // So that the second round is a view too.
    test::GuestWithBuffers guest(payloads);
    auto payload = Payload::CopyOf(source, payloads);
    if (!payload) return kErrorAndIntact;
    std::uint32_t address = 0;
    int exit = kAllDone;
    {
      const SharedPayload shared(std::move(*payload));
      for (auto& history : histories) {
        auto view = guest.buffers->ReceiveView(shared, Owner::kRequest, history);
        if (!view) {
          exit = kErrorAndIntact;
          view = guest.buffers->ReceiveView(shared, Owner::kRequest, history);
          if (!view) return kLost;
        }
        address = *view;
        if (!Holds(guest.At(address), kBytes, 1)) return kLost;
        Fill(guest.At(address), kBytes, 2);
        guest.buffers->EndRequest();
        if (!Holds(shared.Bytes().data(), kBytes, 1)) return kLost;
        guest.buffers->Trim();
        if (!AllZero(guest.At(address), kBytes)) return kLost;
        std::memset(guest.At(address), 0, kBytes);
      }
    }
    return payloads.Pool().GetStats().in_use == 0 ? exit : kLost;
  };
  const std::byte* everything = nullptr;
  std::size_t errors = 0;
  std::size_t ended = 0;
  for (std::size_t nth = 1;; ++nth) {
    ASSERT_LT(nth, 50U);
    const auto result =
        test::RunWithFailingMapping(everything, SIZE_MAX / 2, nth, test::Damage::kNone, tour);
    ASSERT_TRUE(result.exited) << "signal " << result.code << " when call " << nth << " fails";
    if (!result.injected) {
      EXPECT_EQ(result.code, kAllDone);
      break;
    }
    ASSERT_NE(result.code, kLost) << "call " << nth;
    errors += result.code == kErrorAndIntact ? 1 : 0;
    ended += result.code == kDamagedExitCode ? 1 : 0;
  }
  EXPECT_EQ(errors, 3U);  // Making the segment, and mapping a view in each round.
  EXPECT_EQ(ended, 2U);   // The end of a view in each round.
}

struct Lender : SegmentHome {
  void GiveBack(std::unique_ptr<Segment> segment) override { back = std::move(segment); }
  void Abandon(std::unique_ptr<Segment> segment) override { back = std::move(segment); }
  std::unique_ptr<Segment> back;
};

TEST_P(SharedPayloadTest, WorksForASegmentOfAnotherWorker) {
  SharedPayload payload = Make(1);
  const int fd = payload.SegmentToLend().DescriptorForDomain();
  const std::size_t units = payload.SegmentBytes() / kUnitBytes;
  const auto frames = test::PageFrames(payload.Bytes().data(), kUnitBytes);
  const auto borrower = [&]() -> int {
    PayloadMemory payloads(Options());
    test::GuestWithBuffers c(payloads);
    test::GuestWithBuffers d(payloads);
    Lender lender;
    auto segment = Segment::Adopt(UniqueFd(fd), units, payloads.Foreign(), payloads.Mappings());
    if (!segment) return 1;
    SharedPayload shared{Payload(SegmentRef(lender, std::move(*segment)), kBytes)};
    const auto at_c = c.buffers->ReceiveView(shared, Owner::kRequest, history_);
    const auto at_d = d.buffers->ReceiveView(shared, Owner::kRequest, history_);
    if (!at_c || !at_d || !Holds(c.At(*at_c), kBytes, 1)) return 2;
    if (test::PageFrames(c.At(*at_c), kUnitBytes) != frames) return 3;
    Fill(c.At(*at_c), kBytes, 2);
    if (!Holds(d.At(*at_d), kBytes, 1)) return 4;
    shared.Reset();
    c.buffers->EndRequest();
    if (lender.back != nullptr) return 5;
    d.buffers->EndRequest();
    return lender.back != nullptr && payloads.Copies().copies == 0 ? 0 : 6;
  };
  EXPECT_EQ(test::InChild(borrower), 0);
  EXPECT_TRUE(Holds(payload.Bytes().data(), kBytes, 1));
}

// The published case: 10 MiB to 100 instances alive at once.
TEST_P(SharedPayloadTest, IsStoredOnceForAHundredInstances) {
  // A sanitizer's shadow is not stored once: gigabytes for a hundred.
  constexpr std::size_t kInstances = test::kSanitized ? 10 : 100;
  constexpr std::size_t kBroadcast = 5 * kUnitBytes;
  std::vector<std::unique_ptr<test::GuestWithBuffers>> guests;
  for (std::size_t i = 0; i < kInstances; ++i)
    guests.push_back(std::make_unique<test::GuestWithBuffers>(payloads_));
  const std::size_t pss = test::SmapsRollupKib("Pss");
  const std::size_t segments = test::PssKibOf("memfd:cwasi-segment");
  const std::size_t tables = test::StatusKib("VmPTE");
  const std::size_t mappings = test::CountMappings();
  // In place: what malloc keeps of a source would count.
  auto segment = payloads_.Pool().Take(kBroadcast, Zero::kNo);
  ASSERT_TRUE(segment);
  Fill((*segment)->Data(), kBroadcast, 1);
  const SharedPayload payload{Payload(std::move(*segment), kBroadcast)};
  const auto copies = payloads_.Copies().copies;
  std::vector<std::uint32_t> views;
  for (std::size_t i = 0; i < kInstances; ++i) {
    views.push_back(View(*guests[i], payload));
    std::byte* const at = guests[i]->At(views[i]);
    ASSERT_EQ(std::memcmp(at, payload.Bytes().data(), kBroadcast), 0);
    at[i * kPageBytes] ^= std::byte{0xff};
  }
  EXPECT_EQ(payload.LiveViews(), kInstances);
  EXPECT_EQ(payloads_.Copies().copies, copies);
  constexpr std::size_t kWrittenKib = kInstances * kPageBytes / 1024;
  const std::size_t pss_after = test::SmapsRollupKib("Pss");
  constexpr std::size_t kMostKib = kBroadcast / 1024 * 12 / 10 + kWrittenKib;
  EXPECT_LE(test::PssKibOf("memfd:cwasi-segment"), segments + kMostKib);
  if (!test::kSanitized) {
    EXPECT_LE(pss_after, pss + kMostKib);
  }
  // For each view its own tables: one for each unit, and what leads there.
  const std::size_t tables_after = test::StatusKib("VmPTE");
  EXPECT_LE(tables_after, tables + (kInstances * (5 + 2) + 5 + 2) * 4 + test::kSlackTablesKib);
  EXPECT_LE(test::CountMappings(),
            mappings + kInstances * kMappingsPerView + kMappingsPerSegment + test::kSlackMappings);
  RecordProperty("pss_kib", std::to_string(pss_after - pss));
  RecordProperty("tables_kib", std::to_string(tables_after - tables));
  for (std::size_t i = 0; i < kInstances; ++i) {
    EXPECT_NE(guests[i]->At(views[i])[i * kPageBytes], payload.Bytes()[i * kPageBytes]);
    if (i != 0) {
      EXPECT_EQ(guests[i]->At(views[i])[0], payload.Bytes()[0]);
    }
  }
  const auto frames = test::PageFrames(payload.Bytes().data(), kBroadcast);
  if (frames.empty()) GTEST_SKIP() << "page frame numbers are shown to root only";
  for (std::size_t i = 0; i < kInstances; ++i) {
    auto of_view = test::PageFrames(guests[i]->At(views[i]), kBroadcast);
    EXPECT_NE(of_view.at(i), frames.at(i));
    of_view.at(i) = frames.at(i);
    ASSERT_EQ(of_view, frames) << "instance " << i;
  }
}

}  // namespace
}  // namespace cwasi::buf
