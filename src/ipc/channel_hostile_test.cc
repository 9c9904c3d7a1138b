// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A channel whose caller is hostile: records that our own Send would not send, and shared memory
// that changes under the callee.

#include <sys/mman.h>

#include <array>
#include <cstring>
#include <functional>
#include <optional>

#include <gtest/gtest.h>

#include "ipc/channel.h"
#include "os/memfd.h"
#include "os/unix_socket.h"
#include "test/support/channel_parts.h"
#include "test/support/proc_self.h"

namespace cwasi::ipc {
namespace {

using test::Pattern;
using test::SegmentFd;
using test::Soon;

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
  const std::size_t before = test::CountDescriptors();
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
    EXPECT_EQ(test::CountDescriptors(), before);
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

}  // namespace
}  // namespace cwasi::ipc
