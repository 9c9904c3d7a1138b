// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/channel_message.h"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace cwasi::ipc {
namespace {

Record FullCall() {
  return {.type = RecordType::kCall,
          .payload = PayloadKind::kSegment,
          .home = SegmentHome::kReceiver,
          .pass = PassMode::kCopy,
          .slot = kMaxSlots - 1,
          .call_id = UINT64_MAX,
          .request_id = 0x0123'4567'89ab'cdef,
          .function = UINT32_MAX,
          .caller_function = 7,
          .depth = kMaxCallDepth,
          .deadline = INT64_MAX,
          .payload_bytes = kMaxRecordPayloadBytes,
          .given_at = INT64_MAX};
}
Record FullReply() {
  return {.type = RecordType::kReply,
          .payload = PayloadKind::kSegment,
          .slot = 3,
          .returned_slot = kMaxSlots - 1,
          .call_id = 9,
          .request_id = 10,
          .payload_bytes = 11,
          .given_at = 12,
          .status = CallClass::kGuestError,
          .guest_status = -1,
          .may_have_run = true,
          .hand_over_ns = UINT64_MAX};
}

std::vector<Record> Samples() {
  return {{},
          FullCall(),
          {.payload = PayloadKind::kInline, .call_id = 1, .payload_bytes = kMaxInlineBytes},
          FullReply(),
          {.type = RecordType::kReply, .returned_slot = 0, .call_id = 1},
          {.type = RecordType::kReply, .call_id = 1, .status = CallClass::kDenied},
          {.type = RecordType::kReturn, .home = SegmentHome::kReceiver, .slot = 17},
          {.type = RecordType::kCancel, .call_id = 5},
          {.type = RecordType::kValue,
           .payload = PayloadKind::kSegment,
           .slot = 2,
           .call_id = 4,
           .value_id = UINT64_MAX,
           .payload_bytes = 0},
          {.type = RecordType::kClose},
          {.type = RecordType::kForget, .slot = 9}};
}

std::size_t BodyBytes(const Record& r) {
  return r.payload == PayloadKind::kInline ? (r.payload_bytes + 63) / 64 * 64 : 0;
}

// As the ring completes it.
RecordHeader Wire(const Record& record) {
  RecordHeader header = EncodeRecord(record);
  header.words[0] |= 64 + BodyBytes(record);
  return header;
}

std::optional<Record> Decode(const RecordHeader& header, std::size_t body_bytes) {
  const char* why = nullptr;
  auto record = DecodeRecord(header, body_bytes, &why);
  EXPECT_EQ(record.has_value(), why == nullptr);
  return record;
}

TEST(ChannelMessageTest, EveryRecordComesBackAsItWas) {
  for (const Record& record : Samples()) {
    SCOPED_TRACE(static_cast<int>(record.type));
    const auto again = Decode(Wire(record), BodyBytes(record));
    ASSERT_TRUE(again.has_value());
    EXPECT_TRUE(*again == record);
  }
}

TEST(ChannelMessageTest, EveryBitIsRefusedOrMeansSomething) {
  for (const Record& record : Samples()) {
    for (unsigned bit = 32; bit < 512; ++bit) {
      RecordHeader header = Wire(record);
      header.words[bit / 64] ^= std::uint64_t{1} << bit % 64;
      const char* why = nullptr;
      const auto changed = DecodeRecord(header, BodyBytes(record), &why);
      if (!changed.has_value()) continue;
      EXPECT_FALSE(*changed == record)
          << "bit " << bit << " of type " << static_cast<int>(record.type);
      EXPECT_EQ(Wire(*changed).words, header.words);
    }
  }
}

TEST(ChannelMessageTest, RefusesWhatNoWorkerSays) {
  const struct {
    const char* name;
    Record record;
    std::function<void(RecordHeader&)> lie;
  } lies[] = {
      {"type 0", {}, [](auto& h) { h.words[0] &= ~(std::uint64_t{0xff} << 32U); }},
      {"type 8", {}, [](auto& h) { h.words[0] ^= std::uint64_t{9} << 32U; }},
      {"a borrower that forgets",
       {.type = RecordType::kForget, .slot = 3},
       [](auto& h) { h.words[0] |= std::uint64_t{4} << 48U; }},
      {"payload kind 3", {}, [](auto& h) { h.words[0] |= std::uint64_t{3} << 48U; }},
      {"an unknown flag", {}, [](auto& h) { h.words[0] |= std::uint64_t{1} << 54U; }},
      {"class 14", FullReply(), [](auto& h) { h.words[0] |= std::uint64_t{0xff} << 40U; }},
      {"a class in a call", {}, [](auto& h) { h.words[0] |= std::uint64_t{1} << 40U; }},
      {"slot 4096", FullCall(), [](auto& h) { h.words[7] += std::uint64_t{1} << 32U; }},
      {"returned slot 4096", FullReply(), [](auto& h) { h.words[7] += std::uint64_t{1} << 48U; }},
      {"more than 1 GiB", FullCall(), [](auto& h) { ++h.words[5]; }},
      {"bytes without payload", {}, [](auto& h) { h.words[5] = 1; }},
      {"too deep", FullCall(), [](auto& h) { ++h.words[7]; }},
      {"a negative deadline", FullCall(), [](auto& h) { h.words[4] = UINT64_MAX; }},
      {"a negative time", FullCall(), [](auto& h) { h.words[6] = UINT64_MAX; }},
      {"guest status of a success", {.type = RecordType::kReply}, [](auto& h) { h.words[7] |= 1; }},
      {"denied, yet may have run",
       {.type = RecordType::kReply, .status = CallClass::kDenied},
       [](auto& h) { h.words[0] |= std::uint64_t{1} << 53U; }},
      {"a slot without a segment", {}, [](auto& h) { h.words[7] |= std::uint64_t{1} << 32U; }},
      {"a payload in a cancel",
       {.type = RecordType::kCancel},
       [](auto& h) { h.words[0] |= std::uint64_t{2} << 48U; }},
      {"a return of the sender's own",
       {.type = RecordType::kReturn, .home = SegmentHome::kReceiver},
       [](auto& h) { h.words[0] &= ~(std::uint64_t{4} << 48U); }},
  };
  for (const auto& lie : lies) {
    SCOPED_TRACE(lie.name);
    RecordHeader header = Wire(lie.record);
    lie.lie(header);
    EXPECT_FALSE(Decode(header, BodyBytes(lie.record)).has_value());
  }
}

TEST(ChannelMessageTest, ABodyHasTheLengthOfItsPayload) {
  const Record one{.payload = PayloadKind::kInline, .payload_bytes = 65};
  EXPECT_TRUE(Decode(Wire(one), 128).has_value());
  EXPECT_FALSE(Decode(Wire(one), 64).has_value());
  EXPECT_FALSE(Decode(Wire(one), 192).has_value());
  EXPECT_FALSE(Decode(Wire(FullCall()), 64).has_value());
  RecordHeader empty = Wire({.payload = PayloadKind::kInline, .payload_bytes = 1});
  empty.words[5] = 0;
  EXPECT_FALSE(Decode(empty, 0).has_value()) << "no payload is kNone";
  empty.words[5] = UINT64_MAX - 62;
  EXPECT_FALSE(Decode(empty, 0).has_value()) << "rounding up must not overflow";
}

// The worked example of docs/protocols/channel.md.
TEST(ChannelMessageTest, LooksAsTheProtocolsPageShows) {
  const RecordHeader call = Wire({.payload = PayloadKind::kInline,
                                  .call_id = 5,
                                  .request_id = 3,
                                  .function = 2,
                                  .caller_function = 1,
                                  .depth = 1,
                                  .deadline = 0x2540be400,
                                  .payload_bytes = 5,
                                  .given_at = 0x12a05f200});
  EXPECT_EQ(call.words, (std::array<std::uint64_t, 8>{0x0001'0001'0000'0080, 5, 3, 0x1'0000'0002,
                                                      0x2540be400, 5, 0x12a05f200, 1}));
  const RecordHeader reply = Wire({.type = RecordType::kReply,
                                   .payload = PayloadKind::kSegment,
                                   .slot = 4,
                                   .call_id = 5,
                                   .request_id = 3,
                                   .payload_bytes = 0xa00000,
                                   .given_at = 0x12a05f300,
                                   .hand_over_ns = 0x2bc});
  EXPECT_EQ(reply.words, (std::array<std::uint64_t, 8>{0x0002'0002'0000'0040, 5, 3, 0, 0x2bc,
                                                       0xa00000, 0x12a05f300, 0x4'0000'0000}));
}

}  // namespace
}  // namespace cwasi::ipc
