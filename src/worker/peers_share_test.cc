// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A value that several workers read where it is: stored once, over all of them.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "buf/units.h"
#include "ipc/channel.h"
#include "test/support/peer_net.h"
#include "test/support/proc_self.h"
#include "test/support/shared_with_children.h"
#include "worker/peers.h"

namespace cwasi::worker {
namespace {

using namespace std::chrono_literals;
using test::PeerHarness;
using test::PeerNet;

constexpr ipc::WorkerId kGiver = 1;
constexpr ipc::WorkerId kTaker = 2;
constexpr ipc::WorkerId kOther = 3;
constexpr std::size_t kBytes = 5 * buf::kUnitBytes + 123;
constexpr std::uint64_t kValue = 77;

MonotonicNs Soon() {
  return DeadlineAfter(Now(), 20s);
}

bool IsWhole(const Value& value) {
  return value.Size() == kBytes &&
         std::ranges::all_of(value.Bytes(), [](std::byte b) { return b == std::byte{7}; });
}

// 0 where only root may know it.
std::uint64_t FrameOf(const Value& value) {
  const auto frames = test::PageFrames(value.Bytes().data(), buf::kPageBytes);
  return frames.empty() ? 0 : frames.front();
}

// What the processes of a test tell each other.
struct Board {
  std::atomic<std::uint64_t> frame = 0;  // Of the payload's first page, as a taker sees it.
  std::atomic<bool> whole = false;
  std::atomic<bool> shared = false;
  std::atomic<std::uint64_t> copies = 0;
  std::atomic<bool> looked = false;  // Written last: what is above is there.
  std::atomic<bool> let_go = false;
};

class PeersShareTest : public testing::Test {
 protected:
  // Takes one value, keeps it until told to let go, and serves on.
  void StartTaker(ipc::WorkerId id) {
    net_.Start(id, [this](PeerHarness& harness) {
      std::optional<Value> value;
      harness.Peers().SetOnValue([&](std::uint64_t number, Value came) {
        value.emplace(std::move(came));
        return number == kValue;
      });
      if (!harness.Peers().TakeValuesUntil([&] { return value.has_value(); }, Soon())) return;
      Look(harness, *value);
      while (harness.Peers().Links() != 0) {
        harness.Peers().Serve(DeadlineAfter(Now(), 5ms));
        if (board_->let_go) value.reset();
      }
    });
  }
  void Look(PeerHarness& harness, Value& value) const {
    board_->copies = harness.worker.Get().Payloads().Copies().copies;
    board_->whole = IsWhole(value);
    board_->frame = FrameOf(value);
    Value last = value.ForLastTaker();
    board_->shared = static_cast<bool>(last.shared);
    value = std::move(last);
    board_->looked = true;
  }
  PeerHarness& Join() {
    harness_.emplace();
    net_.Join(kGiver, *harness_);
    auto payload = buf::Payload::CopyOf(std::vector<std::byte>(kBytes, std::byte{7}),
                                        harness_->worker.Get().Payloads());
    CHECK(payload.has_value());
    value_.payload = std::move(*payload);
    return *harness_;
  }
  buf::SegmentPool& Pool() { return harness_->worker.Get().Payloads().Pool(); }
  bool IsHome() {
    if (value_.shared) value_ = value_.ForLastTaker();
    return !value_.shared && IsWhole(value_);
  }
  template <class Predicate>
  bool ServeUntil(const Predicate& predicate) {
    for (const MonotonicNs end = Soon(); !predicate() && Now() < end;)
      harness_->Peers().Serve(DeadlineAfter(Now(), 5ms));
    return predicate();
  }

  test::SharedWithChildren<Board> board_;
  PeerNet net_;
  std::optional<PeerHarness> harness_;
  Value value_;  // After the harness: it goes first.
};

TEST_F(PeersShareTest, SeveralWorkersReadTheSamePagesAndTheLastGetsThePayloadBack) {
  net_.Connect(kGiver, kTaker);
  net_.Connect(kGiver, kOther);
  StartTaker(kTaker);
  StartTaker(kOther);
  PeerHarness& giver = Join();
  if (!giver.worker.Get().Payloads().Moves(kBytes)) GTEST_SKIP() << "this kernel moves no pages";
  const auto frame = FrameOf(value_);
  const auto copies = giver.worker.Get().Payloads().Copies().copies;
  for (const ipc::WorkerId to : {kTaker, kOther}) {
    board_->looked = false;
    Value one = value_.ForOneTaker();
    const auto given = giver.Peers().Give(to, one, kValue, Soon());
    ASSERT_TRUE(given) << given.error().message;
    ASSERT_TRUE(ServeUntil([&] { return board_->looked.load(); }));
    EXPECT_TRUE(board_->whole);
    EXPECT_TRUE(board_->shared) << "a taker may not write it";
    EXPECT_EQ(board_->frame, frame);
    EXPECT_EQ(board_->copies, 0U);
  }
  EXPECT_EQ(giver.worker.Get().Payloads().Copies().copies, copies);
  {
    Value last = value_.ForOneTaker();
    EXPECT_FALSE(last.shared.Take()) << "two others read it";
  }
  board_->let_go = true;
  EXPECT_TRUE(ServeUntil([&] { return IsHome(); })) << "when its readers have let go";
}

TEST_F(PeersShareTest, AKilledReaderTakesNothingFromTheOthers) {
  net_.Connect(kGiver, kTaker);
  net_.Connect(kGiver, kOther);
  StartTaker(kTaker);
  StartTaker(kOther);
  PeerHarness& giver = Join();
  if (!giver.worker.Get().Payloads().Moves(kBytes)) GTEST_SKIP() << "this kernel moves no pages";
  Value one = value_.ForOneTaker();
  ASSERT_TRUE(giver.Peers().Give(kTaker, one, kValue, Soon()));
  one = {};
  net_.Process(kTaker).Signal(SIGKILL);
  net_.Process(kTaker).Wait();
  ASSERT_TRUE(ServeUntil([&] { return giver.Peers().Links() == 1; }));
  EXPECT_TRUE(IsWhole(value_));
  EXPECT_FALSE(value_.shared.Take()) << "a descriptor of it may be anywhere";
  board_->looked = false;
  one = value_.ForOneTaker();
  ASSERT_TRUE(giver.Peers().Give(kOther, one, kValue, Soon()));
  ASSERT_TRUE(ServeUntil([&] { return board_->looked.load(); }));
  EXPECT_TRUE(board_->whole);
  one = {};
  value_ = {};
  board_->let_go = true;
  EXPECT_TRUE(ServeUntil([&] { return Pool().GetStats().in_use == 0; }));
  EXPECT_EQ(Pool().GetStats().idle, 0U) << "it is not used again";
}

TEST_F(PeersShareTest, AReaderGivesItOnToOthers) {
  net_.Connect(kGiver, kTaker);
  net_.Connect(kTaker, kOther);
  net_.Start(kTaker, [](PeerHarness& harness) {
    std::optional<Value> value;
    harness.Peers().SetOnValue([&](std::uint64_t, Value came) {
      value.emplace(std::move(came));
      return true;
    });
    if (!harness.Peers().TakeValuesUntil([&] { return value.has_value(); }, Soon())) return;
    Value last = value->ForLastTaker();
    if (!harness.Peers().Give(kOther, last, kValue, Soon())) return;
    last = {};
    value.reset();
    harness.ServeAll();
  });
  StartTaker(kOther);
  PeerHarness& giver = Join();
  if (!giver.worker.Get().Payloads().Moves(kBytes)) GTEST_SKIP() << "this kernel moves no pages";
  const auto frame = FrameOf(value_);
  Value one = value_.ForOneTaker();
  ASSERT_TRUE(giver.Peers().Give(kTaker, one, 1, Soon()));
  one = {};
  ASSERT_TRUE(ServeUntil([&] { return board_->looked.load(); }));
  EXPECT_TRUE(board_->whole);
  EXPECT_EQ(board_->frame, frame) << "still stored once";
  EXPECT_EQ(board_->copies, 0U);
  board_->let_go = true;
  EXPECT_TRUE(ServeUntil([&] { return IsHome(); })) << "it comes back the way it went";
}

// A reader that answers with a payload in the segment would have written it under the others' eyes.
TEST_F(PeersShareTest, AReaderThatSendsItBackWithAPayloadIsDropped) {
  net_.Connect(kGiver, kTaker);
  net_.StartRaw(kTaker, [](std::vector<UniqueFd> sockets) {
    auto channel = ipc::Channel::Accept(std::move(sockets[0]), ipc::Relation::kSameDomain, Soon());
    if (!channel) return;
    ipc::Channel::Incoming incoming;
    while (channel->Receive(incoming) != ipc::ChannelStatus::kOk) {
      if (channel->HasFailed()) return;
      std::this_thread::yield();
    }
    channel->Release();
    static_cast<void>(channel->Send({.type = ipc::RecordType::kReply,
                                     .payload = ipc::PayloadKind::kSegment,
                                     .home = ipc::SegmentHome::kReceiver,
                                     .slot = incoming.record.slot,
                                     .call_id = incoming.record.call_id,
                                     .payload_bytes = 10}));
    while (channel->CheckSocket() != ipc::ChannelStatus::kFailed) std::this_thread::yield();
  });
  PeerHarness& giver = Join();
  if (!giver.worker.Get().Payloads().Moves(kBytes)) GTEST_SKIP() << "this kernel moves no pages";
  Value one = value_.ForOneTaker();
  const auto given = giver.Peers().Give(kTaker, one, kValue, Soon());
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(giver.Peers().Liars(), 1U);
  EXPECT_TRUE(IsWhole(value_));
}

}  // namespace
}  // namespace cwasi::worker
