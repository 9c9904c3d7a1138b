// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "os/memfd.h"
#include "os/unix_socket.h"

namespace cwasi::ipc {
namespace {

MonotonicNs Soon() {
  return DeadlineAfter(Now(), std::chrono::seconds(30));
}

int OpenFdCount() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  int count = 0;
  while (::readdir(folder.get()) != nullptr) ++count;  // NOLINT(concurrency-mt-unsafe): one thread.
  return count;
}

UniqueFd SegmentFd(std::uint32_t units) {
  auto fd = os::CreateSealedMemfd("test", units * kSegmentUnitBytes);
  EXPECT_TRUE(fd);
  return std::move(*fd);
}

std::vector<std::byte> Pattern(std::size_t bytes, std::uint64_t seed) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(seed * 31 + i * 7);
  return out;
}

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
  const int before = OpenFdCount();
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
  EXPECT_EQ(OpenFdCount(), before - 2);
}

// --- A hostile peer: records that our own Send would not send. ---

struct Lie {
  const char* name;
  std::function<void(RingProducer&, int socket)> tell;
};

void SendForgedSegment(int socket, const SegmentPacket& packet, int fd) {
  const std::array<int, 1> fds = {fd};
  ASSERT_TRUE(os::SendPacket(socket, EncodePacket(packet), fds, Soon()));
}
void Say(RingProducer& ring, const Record& record) {
  ASSERT_EQ(ring.Write(EncodeRecord(record), {}), RingStatus::kOk);
}

// The hostile caller has a socket and memory of its own; the callee is the one under test.
class HostileCallerTest : public ::testing::Test {
 protected:
  void Connect() {
    auto pair = os::CreatePacketPair();
    ASSERT_TRUE(pair);
    auto fd = os::CreateSealedMemfd("test", kChannelMemoryBytes);
    ASSERT_TRUE(fd);
    memory_ = static_cast<std::byte*>(
        ::mmap(nullptr, kChannelMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd->Get(), 0));
    ASSERT_NE(memory_, MAP_FAILED);
    const auto offer = EncodePacket(ChannelOffer{});
    std::memcpy(memory_, offer.data(), offer.size());
    const std::array<int, 1> fds = {fd->Get()};
    ASSERT_TRUE(os::SendPacket(pair->first.Get(), offer, fds, Soon()));
    auto callee = Channel::Accept(std::move(pair->second), Relation::kSameDomain, Soon());
    ASSERT_TRUE(callee) << callee.error().message;
    callee_.emplace(std::move(*callee));
    socket_ = std::move(pair->first);
  }
  void Disconnect() {
    callee_.reset();
    ::munmap(memory_, kChannelMemoryBytes);
  }
  [[nodiscard]] RingProducer Requests() const {
    return RingProducer(
        {.words = reinterpret_cast<RingWords*>(memory_ + kRequestWordsAt),
         .data = std::span<std::byte, kRingBytes>(memory_ + kRequestDataAt, kRingBytes)});
  }

  std::byte* memory_ = nullptr;
  UniqueFd socket_;
  std::optional<Channel> callee_;
};

TEST_F(HostileCallerTest, EveryLieFailsTheChannelAndLeaksNothing) {
  const UniqueFd segment = SegmentFd(1);
  std::array<int, 2> pipe_fds{};
  ASSERT_EQ(::pipe2(pipe_fds.data(), O_CLOEXEC), 0);
  const UniqueFd pipe_out(pipe_fds[0]);
  const UniqueFd pipe_in(pipe_fds[1]);
  const auto lent = [](std::uint64_t id, std::uint16_t slot, std::uint64_t bytes = 0) {
    return Record{
        .payload = PayloadKind::kSegment, .slot = slot, .call_id = id, .payload_bytes = bytes};
  };
  const Lie lies[] = {
      {"a reply to the callee", [](auto& r, int) { Say(r, {.type = RecordType::kReply}); }},
      {"the same call twice",
       [](auto& r, int) {
         Say(r, {.call_id = 1});
         Say(r, {.call_id = 1});
       }},
      {"a flood of calls",
       [](auto& r, int) {
         for (std::uint64_t i = 0; i <= Channel::kMaxUnanswered; ++i) Say(r, {.call_id = i});
       }},
      {"a segment never announced", [&](auto& r, int) { Say(r, lent(1, 0)); }},
      {"a segment lent twice",
       [&](auto& r, int s) {
         SendForgedSegment(s, {.slot = 0, .units = 1}, segment.Get());
         Say(r, lent(1, 0));
         Say(r, lent(2, 0));
       }},
      {"a payload longer than its segment",
       [&](auto& r, int s) {
         SendForgedSegment(s, {.slot = 0, .units = 1}, segment.Get());
         Say(r, lent(1, 0, kSegmentUnitBytes + 1));
       }},
      {"a segment announced twice",
       [&](auto& r, int s) {
         SendForgedSegment(s, {.slot = 0, .units = 1}, segment.Get());
         SendForgedSegment(s, {.slot = 0, .units = 1}, segment.Get());
         Say(r, lent(1, 1));
       }},
      {"a flood of segments",
       [&](auto& r, int s) {
         for (std::uint16_t i = 0; i <= SlotTable::kMaxUnused; ++i) {
           SendForgedSegment(s, {.slot = i, .units = 1}, segment.Get());
         }
         Say(r, lent(1, SlotTable::kMaxUnused));
       }},
      {"a segment of another size",
       [&](auto& r, int s) {
         SendForgedSegment(s, {.slot = 0, .units = 2}, segment.Get());
         Say(r, lent(1, 0));
       }},
      {"a pipe for a segment",
       [&](auto& r, int s) {
         SendForgedSegment(s, {.slot = 0, .units = 1}, pipe_out.Get());
         Say(r, lent(1, 0));
       }},
      {"a segment without a descriptor",
       [&](auto& r, int s) {
         ASSERT_TRUE(os::SendPacket(s, EncodePacket(SegmentPacket{}), {}, Soon()));
         Say(r, lent(1, 0));
       }},
      {"a segment with two descriptors",
       [&](auto& r, int s) {
         const std::array<int, 2> two = {segment.Get(), segment.Get()};
         ASSERT_TRUE(os::SendPacket(s, EncodePacket(SegmentPacket{}), two, Soon()));
         Say(r, lent(1, 0));
       }},
      {"a second offer",
       [&](auto& r, int s) {
         const std::array<int, 1> one = {segment.Get()};
         ASSERT_TRUE(os::SendPacket(s, EncodePacket(ChannelOffer{}), one, Soon()));
         Say(r, lent(1, 0));
       }},
      {"a segment of the callee's that it never lent",
       [](auto& r, int) {
         Say(r, {.type = RecordType::kReturn, .home = SegmentHome::kReceiver, .slot = 0});
       }},
      {"a payload in a segment of the callee's",
       [](auto& r, int) {
         Say(r, {.payload = PayloadKind::kSegment, .home = SegmentHome::kReceiver, .call_id = 1});
       }},
      {"bytes that are no record",
       [](auto& r, int) {
         RecordHeader header;
         header.words.fill(UINT64_MAX);
         ASSERT_EQ(r.Write(header, {}), RingStatus::kOk);
       }},
      {"a tail out of nowhere",
       [this](auto&, int) {
         reinterpret_cast<RingWords*>(memory_ + kRequestWordsAt)->tail = 12345;
       }},
  };
  const int before = OpenFdCount();
  for (const Lie& lie : lies) {
    SCOPED_TRACE(lie.name);
    Connect();
    RingProducer ring = Requests();
    lie.tell(ring, socket_.Get());
    Channel::Incoming incoming;
    ChannelStatus status = ChannelStatus::kOk;
    std::size_t received = 0;
    while ((status = callee_->Receive(incoming)) == ChannelStatus::kOk) {
      callee_->Release();
      ++received;
    }
    EXPECT_EQ(status, ChannelStatus::kFailed);
    EXPECT_LE(received, Channel::kMaxUnanswered);
    if (status == ChannelStatus::kFailed) {
      EXPECT_EQ(callee_->Failure().code, ErrorCode::kInvalidArgument) << callee_->Failure().message;
    }
    Disconnect();
    socket_.Reset();
    EXPECT_EQ(OpenFdCount(), before);
  }
}

TEST_F(HostileCallerTest, ACallerThatTakesBackRoomItGaveStopsTheAnswers) {
  Connect();
  RingProducer ring = Requests();
  Say(ring, {.call_id = 1});
  Channel::Incoming incoming;
  ASSERT_EQ(callee_->Receive(incoming), ChannelStatus::kOk);
  callee_->Release();
  reinterpret_cast<RingWords*>(memory_ + kReplyWordsAt)->head = 64;
  // The position is only looked at when the ring seems full.
  ChannelStatus status = ChannelStatus::kOk;
  const auto payload = Pattern(kMaxInlineBytes, 0);
  for (std::uint64_t i = 2; status == ChannelStatus::kOk && i < 20; ++i) {
    status = callee_->Send({.type = RecordType::kReply,
                            .payload = PayloadKind::kInline,
                            .call_id = i - 1,
                            .payload_bytes = kMaxInlineBytes},
                           payload);
    if (status != ChannelStatus::kOk) break;
    Say(ring, {.call_id = i});
    ASSERT_EQ(callee_->Receive(incoming), ChannelStatus::kOk);
    callee_->Release();
    reinterpret_cast<RingWords*>(memory_ + kReplyWordsAt)->head = UINT32_MAX;
  }
  EXPECT_EQ(status, ChannelStatus::kFailed);
  EXPECT_EQ(callee_->Failure().code, ErrorCode::kInvalidArgument);
  Disconnect();
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
  const int before = OpenFdCount();
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
  EXPECT_EQ(OpenFdCount(), before);
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
