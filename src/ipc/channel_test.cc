// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "os/memfd.h"
#include "os/unix_socket.h"
#include "test/support/channel_parts.h"
#include "test/support/proc_self.h"

namespace cwasi::ipc {
namespace {

using test::Pattern;
using test::SegmentFd;
using test::Soon;

Record InlineCall(std::uint64_t id, std::size_t bytes) {
  return {.payload = PayloadKind::kInline, .call_id = id, .payload_bytes = bytes};
}

// A caller, a callee, and the memory between them as a hostile process would have it mapped.
class ChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair);
    auto caller = Channel::Offer(std::move(pair->first), Relation::kSameDomain, Soon());
    ASSERT_TRUE(caller) << caller.error().message;
    caller_.emplace(std::move(*caller));
    auto callee = Channel::Accept(std::move(pair->second), Relation::kSameDomain, Soon());
    ASSERT_TRUE(callee) << callee.error().message;
    callee_.emplace(std::move(*callee));
  }

  Record MustReceive(Channel& channel) {
    Channel::Incoming incoming;
    const ChannelStatus status = channel.Receive(incoming);
    EXPECT_EQ(status, ChannelStatus::kOk)
        << (status == ChannelStatus::kFailed ? channel.Failure().message : "nothing there");
    if (status != ChannelStatus::kOk) return {};
    channel.Release();
    return incoming.record;
  }
  void ExpectBroken(Channel& channel) {
    Channel::Incoming incoming;
    EXPECT_EQ(channel.Receive(incoming), ChannelStatus::kFailed);
    EXPECT_EQ(channel.Failure().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(channel.Send({.type = RecordType::kClose}), ChannelStatus::kFailed);
    EXPECT_EQ(channel.CheckSocket(), ChannelStatus::kFailed);
  }
  // What a peer that is not our code publishes, past every check of the sending side.
  void Forge(RingProducer& producer, const Record& record,
             std::span<const std::byte> payload = {}) {
    ASSERT_EQ(producer.Write(EncodeRecord(record), payload), RingStatus::kOk);
  }

  Channel::Incoming incoming_;
  std::optional<Channel> caller_;
  std::optional<Channel> callee_;
};

TEST_F(ChannelTest, CarriesACallAndItsAnswer) {
  EXPECT_EQ(callee_->Receive(incoming_), ChannelStatus::kWait);
  const auto request = Pattern(1000, 1);
  ASSERT_EQ(caller_->Send(InlineCall(7, 1000), request), ChannelStatus::kOk);
  EXPECT_EQ(caller_->Unanswered(), 1U);
  ASSERT_EQ(callee_->Receive(incoming_), ChannelStatus::kOk);
  EXPECT_TRUE(incoming_.record == InlineCall(7, 1000));
  ASSERT_EQ(incoming_.payload.size(), 1000U);
  EXPECT_EQ(std::memcmp(incoming_.payload.data(), request.data(), 1000), 0);
  callee_->Release();
  const Record reply{.type = RecordType::kReply,
                     .call_id = 7,
                     .status = CallClass::kGuestError,
                     .guest_status = 3,
                     .may_have_run = true};
  ASSERT_EQ(callee_->Send(reply), ChannelStatus::kOk);
  EXPECT_TRUE(MustReceive(*caller_) == reply);
  EXPECT_EQ(caller_->Unanswered(), 0U);
  EXPECT_EQ(callee_->Unanswered(), 0U);
}

TEST_F(ChannelTest, ASegmentGoesOutAndComesHomeEveryWayThereIs) {
  const UniqueFd segment = SegmentFd(2);
  const UniqueFd answer_segment = SegmentFd(1);
  ASSERT_TRUE(caller_->SendSegment(4, segment.Get(), 2, Soon()));
  const auto call = [](std::uint64_t id, SegmentHome home, std::uint16_t slot) {
    return Record{.payload = PayloadKind::kSegment,
                  .home = home,
                  .slot = slot,
                  .call_id = id,
                  .payload_bytes = 100};
  };
  // With the answer.
  ASSERT_EQ(caller_->Send(call(1, SegmentHome::kSender, 4)), ChannelStatus::kOk);
  EXPECT_TRUE(caller_->OurSlots().IsLent(4));
  MustReceive(*callee_);
  auto received = callee_->ReceiveSegment(4);
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->units, 2U);
  EXPECT_EQ(::lseek(received->fd.Get(), 0, SEEK_END), 2 * kSegmentUnitBytes);
  EXPECT_FALSE(callee_->ReceiveSegment(4).has_value()) << "each once";
  ASSERT_EQ(callee_->Send({.type = RecordType::kReply, .returned_slot = 4, .call_id = 1}),
            ChannelStatus::kOk);
  MustReceive(*caller_);
  EXPECT_FALSE(caller_->OurSlots().IsLent(4));
  // As the payload of the answer.
  ASSERT_EQ(caller_->Send(call(2, SegmentHome::kSender, 4)), ChannelStatus::kOk);
  MustReceive(*callee_);
  Record reply = call(2, SegmentHome::kReceiver, 4);
  reply.type = RecordType::kReply;
  ASSERT_EQ(callee_->Send(reply), ChannelStatus::kOk);
  EXPECT_TRUE(MustReceive(*caller_) == reply);
  EXPECT_FALSE(caller_->OurSlots().IsLent(4));
  // Retained, returned later; and a segment of the callee's that comes home with the next call.
  ASSERT_EQ(caller_->Send(call(3, SegmentHome::kSender, 4)), ChannelStatus::kOk);
  MustReceive(*callee_);
  ASSERT_TRUE(callee_->SendSegment(0, answer_segment.Get(), 1, Soon()));
  reply = call(3, SegmentHome::kSender, 0);
  reply.type = RecordType::kReply;
  ASSERT_EQ(callee_->Send(reply), ChannelStatus::kOk);
  MustReceive(*caller_);
  ASSERT_TRUE(caller_->ReceiveSegment(0).has_value());
  EXPECT_TRUE(caller_->OurSlots().IsLent(4)) << "retained";
  ASSERT_EQ(callee_->Send({.type = RecordType::kReturn, .home = SegmentHome::kReceiver, .slot = 4}),
            ChannelStatus::kOk);
  MustReceive(*caller_);
  EXPECT_FALSE(caller_->OurSlots().IsLent(4));
  ASSERT_EQ(caller_->Send(call(4, SegmentHome::kReceiver, 0)), ChannelStatus::kOk);
  MustReceive(*callee_);
  EXPECT_FALSE(callee_->OurSlots().IsLent(0));
  EXPECT_FALSE(caller_->TheirSlots().IsLent(0));
}

TEST_F(ChannelTest, AFullRingIsToldAndLosesNothing) {
  const auto payload = Pattern(kMaxInlineBytes, 1);
  std::uint64_t sent = 0;
  while (caller_->Send(InlineCall(sent, kMaxInlineBytes), payload) == ChannelStatus::kOk) ++sent;
  EXPECT_EQ(sent, 3U);
  EXPECT_EQ(caller_->Unanswered(), 3U);
  for (std::uint64_t i = 0; i < sent; ++i) EXPECT_EQ(MustReceive(*callee_).call_id, i);
  EXPECT_NE(caller_->Room().word->load(), caller_->Room().seen);
  EXPECT_EQ(caller_->Send(InlineCall(sent, kMaxInlineBytes), payload), ChannelStatus::kOk);
}

TEST_F(ChannelTest, BoundsTheCallsThatWaitForAnAnswer) {
  for (std::uint64_t i = 0; i < Channel::kMaxUnanswered; ++i) {
    ASSERT_EQ(caller_->Send({.call_id = i}), ChannelStatus::kOk);
    MustReceive(*callee_);
  }
  EXPECT_EQ(caller_->Send({.call_id = 1000}), ChannelStatus::kWait);
  ASSERT_EQ(callee_->Send({.type = RecordType::kReply, .call_id = 200}), ChannelStatus::kOk);
  MustReceive(*caller_);
  EXPECT_EQ(caller_->Send({.call_id = 1000}), ChannelStatus::kOk);
}

TEST_F(ChannelTest, WhatWasSentBeforeTheEndIsReceivedAndThenTheEndIsTold) {
  ASSERT_EQ(caller_->Send({.call_id = 1}), ChannelStatus::kOk);
  caller_.reset();
  EXPECT_EQ(callee_->CheckSocket(), ChannelStatus::kOk);
  MustReceive(*callee_);
  EXPECT_EQ(callee_->Receive(incoming_), ChannelStatus::kFailed);
  EXPECT_EQ(callee_->Failure().code, ErrorCode::kUnavailable);
  EXPECT_EQ(callee_->Send({.type = RecordType::kReply, .call_id = 1}), ChannelStatus::kFailed);
}

TEST_F(ChannelTest, ACloseIsTheLastRecord) {
  ASSERT_EQ(caller_->Send({.call_id = 1}), ChannelStatus::kOk);
  caller_->Close();
  MustReceive(*callee_);
  EXPECT_EQ(MustReceive(*callee_).type, RecordType::kClose);
  EXPECT_EQ(callee_->Receive(incoming_), ChannelStatus::kFailed);
  EXPECT_EQ(callee_->Failure().code, ErrorCode::kUnavailable);
}

TEST_F(ChannelTest, TheEndIsNoticedWithoutReceiving) {
  EXPECT_EQ(caller_->CheckSocket(), ChannelStatus::kOk);
  callee_.reset();
  EXPECT_EQ(caller_->CheckSocket(), ChannelStatus::kFailed);
  EXPECT_EQ(caller_->Failure().code, ErrorCode::kUnavailable);
  const UniqueFd segment = SegmentFd(1);
  EXPECT_FALSE(caller_->SendSegment(0, segment.Get(), 1, Soon()));
}

TEST_F(ChannelTest, ADescriptorThatIsNeverReadDoesNotStopTheSender) {
  const UniqueFd segment = SegmentFd(1);
  std::uint16_t sent = 0;
  for (;; ++sent) {
    const auto result = caller_->SendSegment(sent, segment.Get(), 1, Now());
    if (result) continue;
    EXPECT_TRUE(result.error().code == ErrorCode::kResourceExhausted ||
                result.error().code == ErrorCode::kDeadlineExceeded)
        << result.error().message;
    break;
  }
  EXPECT_LE(sent, SlotTable::kMaxUnused);
  EXPECT_EQ(caller_->Send({.call_id = 1}), ChannelStatus::kOk) << "the channel goes on";
}

TEST_F(ChannelTest, EveryDescriptorIsClosedInTheEnd) {
  const std::size_t before = test::CountDescriptors();
  {
    SetUp();  // Replaces both ends; the old ones are closed.
    const UniqueFd segment = SegmentFd(1);
    ASSERT_TRUE(caller_->SendSegment(0, segment.Get(), 1, Soon()));
    ASSERT_TRUE(caller_->SendSegment(1, segment.Get(), 1, Soon()));
    ASSERT_EQ(caller_->Send({.payload = PayloadKind::kSegment, .slot = 1, .call_id = 1}),
              ChannelStatus::kOk);
    MustReceive(*callee_);
    EXPECT_EQ(callee_->Untaken(), 2U);
  }
  callee_.reset();
  caller_.reset();
  EXPECT_EQ(test::CountDescriptors(), before - 2);
}

TEST_F(ChannelTest, ACalleeThatAnswersTwiceOrUnaskedFailsTheChannel) {
  for (const bool asked : {false, true}) {
    SetUp();
    if (asked) {
      ASSERT_EQ(caller_->Send({.call_id = 1}), ChannelStatus::kOk);
      MustReceive(*callee_);
      ASSERT_EQ(callee_->Send({.type = RecordType::kReply, .call_id = 1}), ChannelStatus::kOk);
      MustReceive(*caller_);
    }
    auto* words = const_cast<SharedWord*>(caller_->Records().word);
    auto* base = reinterpret_cast<std::byte*>(words) - kReplyWordsAt;
    // The reply once more, where the next record goes.
    RecordHeader header = EncodeRecord({.type = RecordType::kReply, .call_id = 1});
    header.words[0] |= 64;
    std::memcpy(base + kReplyDataAt + words->load(), header.words.data(), 64);
    words->fetch_add(64);
    ExpectBroken(*caller_);
  }
}

// --- The handshake. ---

class HandshakeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair);
    ours_ = std::move(pair->first);
    theirs_ = std::move(pair->second);
  }
  UniqueFd ours_;
  UniqueFd theirs_;
};

TEST_F(HandshakeTest, TheCallerNeedNotWaitForTheCallee) {
  auto caller = Channel::Offer(std::move(ours_), Relation::kOtherDomain, Soon());
  ASSERT_TRUE(caller);
  ASSERT_EQ(caller->Send({.call_id = 3}), ChannelStatus::kOk);
  EXPECT_EQ(caller->CheckSocket(), ChannelStatus::kOk);
  auto callee = Channel::Accept(std::move(theirs_), Relation::kOtherDomain, Soon());
  ASSERT_TRUE(callee);
  EXPECT_EQ(callee->DomainRelation(), Relation::kOtherDomain);
  Channel::Incoming incoming;
  ASSERT_EQ(callee->Receive(incoming), ChannelStatus::kOk);
  EXPECT_EQ(incoming.record.call_id, 3U);
}

TEST_F(HandshakeTest, ARefusalReachesTheCaller) {
  auto caller = Channel::Offer(std::move(ours_), Relation::kSameDomain, Soon());
  ASSERT_TRUE(caller);
  const auto callee = Channel::Accept(std::move(theirs_), Relation::kOtherDomain, Soon());
  ASSERT_FALSE(callee);
  EXPECT_EQ(callee.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(caller->CheckSocket(), ChannelStatus::kFailed);
  EXPECT_EQ(caller->Failure().code, ErrorCode::kFailedPrecondition);
}

TEST_F(HandshakeTest, AnotherVersionIsToldToBothSides) {
  auto offer = EncodePacket(ChannelOffer{});
  offer[4] = std::byte{2};
  const UniqueFd fd = SegmentFd(1);
  ASSERT_TRUE(os::SendPacket(ours_.Get(), offer, std::array{fd.Get()}, Soon()));
  const auto callee = Channel::Accept(std::move(theirs_), Relation::kSameDomain, Soon());
  ASSERT_FALSE(callee);
  EXPECT_EQ(callee.error().code, ErrorCode::kFailedPrecondition);
  std::array<std::byte, kChannelPacketBytes> answer{};
  ASSERT_TRUE(os::ReceivePacket(ours_.Get(), answer, 0, Soon()));
  const auto decoded = DecodePacket(answer);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::get<ChannelAnswer>(*decoded).verdict, Verdict::kVersion);
}

TEST_F(HandshakeTest, TheCalleeRefusesEveryOtherMemory) {
  const auto good = os::CreateSealedMemfd("test", kChannelMemoryBytes);
  ASSERT_TRUE(good);  // But nothing is written in it.
  const UniqueFd small = SegmentFd(1);
  UniqueFd no_write(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(no_write.Get(), kChannelMemoryBytes), 0);
  ASSERT_EQ(::fcntl(no_write.Get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
  const std::size_t before = test::CountDescriptors();
  for (const int fd : {good->Get(), small.Get(), no_write.Get(), ours_.Get()}) {
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair);
    ASSERT_TRUE(
        os::SendPacket(pair->first.Get(), EncodePacket(ChannelOffer{}), std::array{fd}, Soon()));
    const auto callee = Channel::Accept(std::move(pair->second), Relation::kSameDomain, Soon());
    ASSERT_FALSE(callee);
    EXPECT_EQ(callee.error().code, ErrorCode::kInvalidArgument);
    std::array<std::byte, kChannelPacketBytes> answer{};
    ASSERT_TRUE(os::ReceivePacket(pair->first.Get(), answer, 0, Soon()));
    const auto decoded = DecodePacket(answer);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(std::get<ChannelAnswer>(*decoded).verdict, Verdict::kMemory);
  }
  EXPECT_EQ(test::CountDescriptors(), before);
}

TEST_F(HandshakeTest, TheCalleeRefusesWhatIsNoOffer) {
  const UniqueFd fd = SegmentFd(1);
  const struct {
    std::vector<std::byte> bytes;
    std::vector<int> fds;
  } packets[] = {{{std::byte{1}}, {fd.Get()}},
                 {std::vector<std::byte>(24), {fd.Get()}},
                 {std::vector<std::byte>(500), {fd.Get()}},
                 {[] {
                    const auto p = EncodePacket(ChannelOffer{});
                    return std::vector<std::byte>(p.begin(), p.end());
                  }(),
                  {}},
                 {[] {
                    const auto p = EncodePacket(SegmentPacket{});
                    return std::vector<std::byte>(p.begin(), p.end());
                  }(),
                  {fd.Get()}}};
  for (const auto& packet : packets) {
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair);
    ASSERT_TRUE(os::SendPacket(pair->first.Get(), packet.bytes, packet.fds, Soon()));
    const auto callee = Channel::Accept(std::move(pair->second), Relation::kSameDomain, Soon());
    ASSERT_FALSE(callee);
    EXPECT_EQ(callee.error().code, ErrorCode::kInvalidArgument) << callee.error().message;
  }
}

TEST_F(HandshakeTest, WaitingForAnOfferEndsByDeadlineOrWithTheCaller) {
  auto late = Channel::Accept(std::move(theirs_), Relation::kSameDomain, Now());
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kDeadlineExceeded);
  SetUp();
  ours_.Reset();
  auto gone = Channel::Accept(std::move(theirs_), Relation::kSameDomain, Soon());
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::kUnavailable);
}

TEST_F(HandshakeTest, AnswersBeforeTheOfferWasAcceptedFailTheChannel) {
  auto caller = Channel::Offer(std::move(ours_), Relation::kSameDomain, Soon());
  ASSERT_TRUE(caller);
  ASSERT_EQ(caller->Send({.call_id = 1}), ChannelStatus::kOk);
  auto* words = const_cast<SharedWord*>(caller->Records().word);
  auto* base = reinterpret_cast<std::byte*>(words) - kReplyWordsAt;
  RecordHeader header = EncodeRecord({.type = RecordType::kReply, .call_id = 1});
  header.words[0] |= 64;
  std::memcpy(base + kReplyDataAt, header.words.data(), 64);
  words->store(64);
  Channel::Incoming incoming;
  EXPECT_EQ(caller->Receive(incoming), ChannelStatus::kFailed);
  EXPECT_EQ(caller->Failure().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cwasi::ipc
