// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Every test runs twice: with pages that move, and with everything copied. A guest cannot tell.

#include "buf/guest_buffers.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>

#include <gtest/gtest.h>

#include "test/support/proc_self.h"

namespace cwasi::buf {
namespace {

constexpr std::size_t kLarge = 5 * kUnitBytes + 123;
constexpr std::size_t kSmall = 3000;

// A guest that grows its memory for each arena, as the C SDK does, unless told to misbehave.
struct Guest : ArenaSource {
  explicit Guest(PayloadMemory& payloads, Zero zero = Zero::kNo,
                 std::size_t limit_bytes = kUnitBytes) {
    auto made = GuestMemory::Create({.reserved_bytes = std::size_t{4} << 30,
                                     .guard_bytes = kUnitBytes,
                                     .initial_bytes = 65536,
                                     .maximum_bytes = std::size_t{4} << 30,
                                     .limit_bytes = limit_bytes},
                                    payloads.ForGuests());
    if (!made) std::abort();
    memory = std::move(*made);
    buffers.emplace(*memory, payloads, *this, zero);
  }
  Result<std::uint32_t> RequestArena(std::size_t bytes) override {
    ++requests;
    if (misbehave) return misbehave(bytes);
    const std::size_t start = RoundUp(memory->SizeBytes(), kUnitBytes);
    TRY(memory->Grow(start + bytes));
    return static_cast<std::uint32_t>(start);
  }
  std::byte* At(std::uint32_t address) const { return memory->Base() + address; }

  std::unique_ptr<GuestMemory> memory;
  std::optional<GuestBuffers> buffers;
  std::function<Result<std::uint32_t>(std::size_t)> misbehave;
  int requests = 0;
};

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

class GuestBuffersTest : public testing::TestWithParam<MovePolicy> {
 protected:
  static PayloadMemory::Options Options(std::size_t mappings = 1000) {
    PayloadMemory::Options options;
    options.memory_bytes = std::size_t{4} << 30;
    options.mappings = mappings;
    options.policy = GetParam();
    return options;
  }
  bool Moving() const { return payloads_.Moves(kLarge); }
  std::uint32_t New(Guest& guest, std::size_t bytes, unsigned seed) {
    const auto address = guest.buffers->New(bytes, Owner::kGuest);
    EXPECT_TRUE(address) << address.error().message;
    Fill(guest.At(*address), bytes, seed);
    return *address;
  }
  PayloadMemory payloads_{Options()};
  Guest a_{payloads_};
  Guest b_{payloads_};
};

INSTANTIATE_TEST_SUITE_P(Policy, GuestBuffersTest,
                         testing::Values(MovePolicy::kAuto, MovePolicy::kCopyAll),
                         [](const auto& policy) {
                           return policy.param == MovePolicy::kAuto ? "Moved" : "Copied";
                         });

TEST_P(GuestBuffersTest, TransferHandsOverEveryByteAtAnySize) {
  for (const std::size_t bytes : {std::size_t{1}, kSmall, std::size_t{65536}, std::size_t{65537},
                                  kUnitBytes - 1, kUnitBytes, kUnitBytes + 1, kLarge}) {
    const std::uint32_t from = New(a_, bytes, 3);
    const auto to = a_.buffers->Transfer(from, bytes, *b_.buffers, Owner::kGuest);
    ASSERT_TRUE(to) << bytes << ": " << to.error().message;
    EXPECT_TRUE(Holds(b_.At(*to), bytes, 3)) << bytes;
    EXPECT_EQ(a_.buffers->Free(from).error().code, ErrorCode::kInvalidArgument)
        << "given, but still the giver's";
    EXPECT_TRUE(b_.buffers->Free(*to));
  }
}

TEST_P(GuestBuffersTest, CopiesNothingWhenPagesMoveAndOnceOtherwise) {
  const std::uint32_t from = New(a_, kLarge, 1);
  const CopyCount before = payloads_.Copies();
  ASSERT_TRUE(a_.buffers->Transfer(from, kLarge, *b_.buffers, Owner::kGuest));
  EXPECT_EQ(payloads_.Copies().copies - before.copies, Moving() ? 0U : 1U);
  EXPECT_EQ(payloads_.Copies().bytes - before.bytes, Moving() ? 0U : kLarge);
}

TEST_P(GuestBuffersTest, TheGiverSeesNotAByteOfAMovedPayload) {
  const std::uint32_t from = New(a_, kLarge, 1);
  const auto frames = test::PageFrames(a_.At(from), RoundUp(kLarge, kPageBytes));
  const auto to = a_.buffers->Transfer(from, kLarge, *b_.buffers, Owner::kGuest);
  ASSERT_TRUE(to);
  if (!Moving()) GTEST_SKIP() << "a copied payload's bytes stay the giver's own";
  EXPECT_TRUE(AllZero(a_.At(from), kLarge));
  std::memset(a_.At(from), 0xff, kLarge);
  EXPECT_TRUE(Holds(b_.At(*to), kLarge, 1));
  if (frames.empty()) GTEST_SKIP() << "page frame numbers are shown to root only";
  EXPECT_EQ(test::PageFrames(b_.At(*to), RoundUp(kLarge, kPageBytes)), frames);
}

TEST_P(GuestBuffersTest, ThroughTheHostAndBackKeepsTheBytes) {
  for (const std::size_t bytes : {std::size_t{1}, kSmall, kLarge}) {
    const std::uint32_t from = New(a_, bytes, 9);
    auto payload = a_.buffers->Give(from, bytes);
    ASSERT_TRUE(payload) << payload.error().message;
    EXPECT_EQ(payload->Size(), bytes);
    EXPECT_TRUE(Holds(payload->Bytes().data(), bytes, 9));
    const auto to = b_.buffers->Receive(*payload, Owner::kRequest);
    ASSERT_TRUE(to) << to.error().message;
    EXPECT_EQ(payload->Size(), 0U);
    EXPECT_TRUE(Holds(b_.At(*to), bytes, 9));
    b_.buffers->EndRequest();
    EXPECT_FALSE(b_.buffers->Free(*to)) << "a part ends with its request";
  }
}

TEST_P(GuestBuffersTest, GivesFewerBytesThanTheBufferHolds) {
  const std::uint32_t from = New(a_, kLarge, 2);
  const auto to = a_.buffers->Transfer(from, 100, *b_.buffers, Owner::kGuest);
  ASSERT_TRUE(to);
  EXPECT_TRUE(Holds(b_.At(*to), 100, 2));
  EXPECT_FALSE(a_.buffers->Free(from));
}

TEST_P(GuestBuffersTest, RefusesEveryAddressThatIsNoBuffer) {
  const std::uint32_t mine = New(a_, kLarge, 1);
  const std::uint32_t small = New(a_, kSmall, 1);
  const std::uint32_t others = New(b_, 9 * kUnitBytes, 1);
  for (const std::uint32_t address :
       {0U, 1U, mine + 1, mine + 4096, small + 1, others + 0x40000000U, 0xffffffffU}) {
    EXPECT_EQ(a_.buffers->Free(address).error().code, ErrorCode::kInvalidArgument) << address;
    EXPECT_EQ(a_.buffers->Retain(address).error().code, ErrorCode::kInvalidArgument) << address;
    EXPECT_EQ(a_.buffers->Give(address, 1).error().code, ErrorCode::kInvalidArgument) << address;
    EXPECT_EQ(a_.buffers->Transfer(address, 1, *b_.buffers, Owner::kGuest).error().code,
              ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(a_.buffers->Give(mine, RoundUp(kLarge, kUnitBytes) + kUnitBytes).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(a_.buffers->Give(mine, 0xffffffffU).error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(Holds(a_.At(mine), kLarge, 1));
  EXPECT_TRUE(a_.buffers->Give(mine, kLarge));
  EXPECT_EQ(a_.buffers->Give(mine, kLarge).error().code, ErrorCode::kInvalidArgument)
      << "given twice";
}

TEST_P(GuestBuffersTest, RefusesNoBytesAndTooManyBytes) {
  EXPECT_EQ(a_.buffers->New(0, Owner::kGuest).error().code, ErrorCode::kInvalidArgument);
  const auto too_large = a_.buffers->New(kMaxPayloadBytes + 1, Owner::kGuest);
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().sys_errno, EMSGSIZE);
  EXPECT_EQ(a_.requests, 0) << "refused before the guest was asked for anything";
}

TEST_P(GuestBuffersTest, AShortRequestUsesTheInboxAgainAndAgain) {
  const std::byte bytes[64] = {std::byte{42}};
  const auto first = a_.buffers->ReceiveCopy(bytes, sizeof bytes, Owner::kRequest);
  ASSERT_TRUE(first);
  const auto during = a_.buffers->ReceiveCopy(bytes, sizeof bytes, Owner::kRequest);
  ASSERT_TRUE(during);
  EXPECT_NE(*during, *first) << "the first part is still there";
  a_.buffers->EndRequest();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(a_.buffers->ReceiveCopy(bytes, sizeof bytes, Owner::kRequest).value(), *first);
    a_.buffers->EndRequest();
  }
  EXPECT_EQ(a_.buffers->GetStats().buffers, 0U);
  EXPECT_EQ(a_.requests, 1);
}

TEST_P(GuestBuffersTest, ARetainedPartOutlivesItsRequest) {
  for (const std::size_t bytes : {kSmall, kLarge}) {
    std::vector<std::byte> source(bytes);
    Fill(source.data(), bytes, 4);
    const auto part = a_.buffers->ReceiveCopy(source.data(), bytes, Owner::kRequest);
    ASSERT_TRUE(part);
    ASSERT_TRUE(a_.buffers->Retain(*part));
    a_.buffers->EndRequest();
    const auto next = a_.buffers->ReceiveCopy(source.data(), 10, Owner::kRequest);
    ASSERT_TRUE(next);
    EXPECT_NE(*next, *part);
    EXPECT_TRUE(Holds(a_.At(*part), bytes, 4));
    EXPECT_TRUE(a_.buffers->Free(*part));
    a_.buffers->EndRequest();
  }
}

TEST_P(GuestBuffersTest, ForwardsAReceivedPayload) {
  Guest c(payloads_);
  const std::uint32_t from = New(a_, kLarge, 8);
  const auto at_b = a_.buffers->Transfer(from, kLarge, *b_.buffers, Owner::kRequest);
  ASSERT_TRUE(at_b);
  const auto at_c = b_.buffers->Transfer(*at_b, kLarge, *c.buffers, Owner::kRequest);
  ASSERT_TRUE(at_c);
  b_.buffers->EndRequest();
  EXPECT_TRUE(Holds(c.At(*at_c), kLarge, 8));
}

TEST_P(GuestBuffersTest, AGuestThatGrantsWronglyGetsAnErrorAndNobodyLosesAByte) {
  Guest bad(payloads_);
  ASSERT_TRUE(bad.memory->Grow(kUnitBytes));
  bad.memory->AllowArena(20 * kUnitBytes);
  ASSERT_TRUE(bad.memory->Grow(20 * kUnitBytes));
  std::memset(bad.memory->Base(), 0x33, 20 * kUnitBytes);
  const std::uint32_t from = New(a_, kLarge, 6);
  struct Case {
    const char* what;
    std::uint32_t offset;
  };
  for (const Case& c :
       {Case{"unaligned", 2 * kUnitBytes + 16}, Case{"null as success", 0},
        Case{"past its memory", 0x80000000U}, Case{"partly past it", 16 * kUnitBytes},
        Case{"the last byte", 0xffffffffU}, Case{"the stack", kUnitBytes}}) {
    bad.buffers->Space().SetHeapBase(static_cast<std::uint32_t>(2 * kUnitBytes));
    bad.misbehave = [&](std::size_t) -> Result<std::uint32_t> { return c.offset; };
    const auto to = a_.buffers->Transfer(from, kLarge, *bad.buffers, Owner::kGuest);
    ASSERT_FALSE(to) << c.what;
    EXPECT_EQ(to.error().code, ErrorCode::kInvalidArgument) << c.what;
    EXPECT_TRUE(Holds(a_.At(from), kLarge, 6)) << c.what;
    EXPECT_TRUE(std::all_of(bad.memory->Base(), bad.memory->Base() + 20 * kUnitBytes,
                            [](std::byte b) { return b == std::byte{0x33}; }))
        << c.what;
  }
  bad.misbehave = [&](std::size_t) -> Result<std::uint32_t> { return 4 * kUnitBytes; };
  const auto live = a_.buffers->Transfer(from, kLarge, *bad.buffers, Owner::kGuest);
  ASSERT_TRUE(live) << live.error().message;
  const auto again =
      bad.buffers->New(kLarge, Owner::kGuest);  // It grants the live window once more.
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(Holds(bad.At(*live), kLarge, 6));
}

TEST_P(GuestBuffersTest, AGuestWithoutMemoryIsRefusedAndTheGiverKeepsItsBuffer) {
  const std::uint32_t from = New(a_, kLarge, 6);
  b_.misbehave = [](std::size_t) -> Result<std::uint32_t> {
    return Fail(ErrorCode::kResourceExhausted, "none");
  };
  const auto to = a_.buffers->Transfer(from, kLarge, *b_.buffers, Owner::kGuest);
  ASSERT_FALSE(to);
  EXPECT_EQ(to.error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(Holds(a_.At(from), kLarge, 6));
  auto payload = a_.buffers->Give(from, kLarge);
  ASSERT_TRUE(payload);
  EXPECT_FALSE(b_.buffers->Receive(*payload, Owner::kRequest));
  EXPECT_TRUE(Holds(payload->Bytes().data(), kLarge, 6)) << "the payload is lost";
}

TEST_P(GuestBuffersTest, AnAllocatorThatFailedIsNotCalledAgain) {
  // It may have trapped: whoever can call it must not.
  b_.misbehave = [](std::size_t) -> Result<std::uint32_t> {
    return Fail(ErrorCode::kFailedPrecondition, "cabi_realloc trapped");
  };
  const std::byte small[8] = {};
  const auto to = b_.buffers->ReceiveCopy(small, sizeof small, Owner::kRequest);
  ASSERT_FALSE(to);
  EXPECT_EQ(to.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(b_.requests, 1);
}

TEST_P(GuestBuffersTest, BeyondTheMappingBudgetIsUnavailableAndNothingLeaks) {
  if (!Moving()) GTEST_SKIP() << "copied payloads take no mappings";
  PayloadMemory payloads(Options(20));
  Guest guest(payloads);
  std::vector<std::uint32_t> addresses;
  for (;;) {
    const auto address = guest.buffers->New(kUnitBytes, Owner::kGuest);
    if (!address) {
      EXPECT_EQ(address.error().code, ErrorCode::kUnavailable) << address.error().message;
      break;
    }
    addresses.push_back(*address);
    ASSERT_LT(addresses.size(), 20U);
  }
  EXPECT_EQ(addresses.size(), 6U);
  EXPECT_TRUE(guest.buffers->Free(addresses[0]));
  EXPECT_TRUE(guest.buffers->New(kUnitBytes, Owner::kGuest))
      << "what was released can be had again";
}

TEST_P(GuestBuffersTest, HoldsABoundedNumberOfBuffers) {
  for (std::size_t i = 0; i < GuestBuffers::kMaxBuffers; ++i)
    ASSERT_TRUE(a_.buffers->New(1, Owner::kGuest)) << i;
  const auto more = a_.buffers->New(1, Owner::kGuest);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, ErrorCode::kUnavailable);
}

TEST_P(GuestBuffersTest, DestroyingAnInstanceReturnsItsSegmentsWarm) {
  auto guest = std::make_unique<Guest>(payloads_);
  const std::uint32_t address = New(*guest, kLarge, 5);
  const auto frames = test::PageFrames(guest->At(address), kUnitBytes);
  guest.reset();
  EXPECT_EQ(payloads_.Pool().GetStats().in_use, 0U);
  if (!Moving()) return;
  auto segment = payloads_.Pool().Take(kLarge, Zero::kNo);
  ASSERT_TRUE(segment);
  EXPECT_EQ(payloads_.Pool().GetStats().recycled, 1U);
  EXPECT_EQ(test::PageFrames((*segment)->Data(), kUnitBytes), frames);
}

TEST_P(GuestBuffersTest, ZeroAlwaysHidesFormerPayloads) {
  Guest careful(payloads_, Zero::kAlways);
  for (const std::size_t bytes : {kSmall, kLarge}) {
    for (int round = 0; round < 2; ++round) {
      const std::uint32_t address = New(careful, bytes, 1);
      ASSERT_TRUE(careful.buffers->Free(address));
      const auto next = careful.buffers->New(bytes, Owner::kGuest);
      ASSERT_TRUE(next);
      EXPECT_TRUE(AllZero(careful.At(*next), bytes)) << bytes;
      ASSERT_TRUE(careful.buffers->Free(*next));
    }
  }
}

TEST_P(GuestBuffersTest, AHundredThousandTransfersLeaveNothingBehind) {
  std::uint32_t address = New(a_, 2 * kUnitBytes, 1);
  Guest* from = &a_;
  Guest* to = &b_;
  std::size_t mappings = 0;
  std::size_t resident = 0;
  const std::size_t rounds = Moving() ? 100'000 : 2'000;
  for (std::size_t round = 0; round < rounds; ++round) {
    if (round == 1000) {
      mappings = test::CountMappings();
      resident = test::StatusKib("VmRSS");
    }
    const auto there =
        from->buffers->Transfer(address, 2 * kUnitBytes, *to->buffers, Owner::kGuest);
    ASSERT_TRUE(there) << there.error().message;
    address = *there;
    std::swap(from, to);
  }
  EXPECT_TRUE(Holds(from->At(address), 2 * kUnitBytes, 1));
  EXPECT_LE(test::CountMappings(), mappings + 2 + test::kSlackMappings);
  EXPECT_LE(test::StatusKib("VmRSS"), resident + 1024 + test::kSlackResidentKib);
}

}  // namespace
}  // namespace cwasi::buf
