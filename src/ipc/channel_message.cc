// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/channel_message.h"

#include "base/check.h"

namespace cwasi::ipc {
namespace {

// Flags, bits 48 to 63 of the first word.
constexpr unsigned kFlagsAt = 48;
constexpr std::uint64_t kPayloadMask = 3;
constexpr std::uint64_t kHomeReceiver = 1U << 2U;
constexpr std::uint64_t kReturnsSlot = 1U << 3U;
constexpr std::uint64_t kCopy = 1U << 4U;
constexpr std::uint64_t kMayHaveRun = 1U << 5U;

constexpr std::uint64_t High(std::uint64_t value, unsigned shift) {
  return value << shift;
}
constexpr std::uint32_t Low32(std::uint64_t word) {
  return static_cast<std::uint32_t>(word);
}
constexpr std::uint16_t Bits16(std::uint64_t word, unsigned shift) {
  return static_cast<std::uint16_t>(word >> shift);
}

// What of a type's fields can be told without its bytes. Null: nothing is wrong.
const char* Wrong(const Record& r) {
  const bool answers = r.type == RecordType::kReply;
  const bool gives = answers || r.type == RecordType::kCall || r.type == RecordType::kValue;
  if (!gives && r.payload != PayloadKind::kNone) return "a payload in a record that carries none";
  if (r.type == RecordType::kReturn && r.home != SegmentHome::kReceiver) {
    return "a segment returned to who sends it";
  }
  if (r.type == RecordType::kForget && r.home != SegmentHome::kSender) {
    return "a segment forgotten by who has borrowed it";
  }
  if (r.slot >= kMaxSlots || r.returned_slot.value_or(0) >= kMaxSlots) return "a slot out of range";
  if (r.payload == PayloadKind::kNone && r.payload_bytes != 0) return "bytes without a payload";
  if (r.payload == PayloadKind::kInline &&
      (r.payload_bytes == 0 || r.payload_bytes > kMaxInlineBytes)) {
    return "an inline payload of an impossible length";
  }
  if (r.payload_bytes > kMaxRecordPayloadBytes) return "a payload longer than 1 GiB";
  if (r.depth > kMaxCallDepth) return "a call nested too deep";
  if (r.deadline < 0 || r.given_at < 0) return "a time before the boot";
  if (r.status.has_value()) {
    const auto fixed = FixedMayHaveRun(*r.status);
    if (fixed.has_value() && *fixed != r.may_have_run) return "may_have_run contradicts the class";
  } else if (r.may_have_run) {
    return "may_have_run without a failure";
  }
  if (r.guest_status != 0 && r.status != CallClass::kGuestError) {
    return "a guest status without guest_error";
  }
  return nullptr;
}

// Words 3 and 4, and the lower half of 7, which differ by type.
void PackOwnFields(const Record& r, RecordHeader& header) {
  auto& w = header.words;
  if (r.type == RecordType::kCall) {
    w[3] = r.function | High(r.caller_function, 32);
    w[4] = static_cast<std::uint64_t>(r.deadline);
    w[7] = r.depth;
  } else if (r.type == RecordType::kReply) {
    w[4] = r.hand_over_ns;
    w[7] = static_cast<std::uint32_t>(r.guest_status) | High(r.returned_slot.value_or(0), 48);
  } else if (r.type == RecordType::kValue) {
    w[3] = r.hand_over_ns;
    w[4] = r.value_id;
    w[7] = r.copies;
  }
}

// Only the fields of its type.
RecordHeader Pack(const Record& r) {
  const bool reply = r.type == RecordType::kReply;
  const bool gives = reply || r.type == RecordType::kCall || r.type == RecordType::kValue;
  const bool has_slot = r.payload == PayloadKind::kSegment || r.type == RecordType::kReturn ||
                        r.type == RecordType::kForget;

  std::uint64_t flags = static_cast<std::uint64_t>(r.payload);
  if (has_slot && r.home == SegmentHome::kReceiver) flags |= kHomeReceiver;
  if (reply && r.returned_slot.has_value()) flags |= kReturnsSlot;
  if (gives && r.pass == PassMode::kCopy) flags |= kCopy;
  if (reply && r.may_have_run) flags |= kMayHaveRun;
  const std::uint64_t status =
      reply && r.status.has_value() ? static_cast<std::uint64_t>(*r.status) : 0;

  RecordHeader header;
  auto& w = header.words;
  w[0] = High(static_cast<std::uint64_t>(r.type), 32) | High(status, 40) | High(flags, kFlagsAt);
  if (gives || r.type == RecordType::kCancel) w[1] = r.call_id;
  if (gives) w[2] = r.request_id;
  if (gives) w[5] = r.payload_bytes;
  if (gives) w[6] = static_cast<std::uint64_t>(r.given_at);
  PackOwnFields(r, header);
  if (has_slot) w[7] |= High(r.slot, 32);
  return header;
}

}  // namespace

RecordHeader EncodeRecord(const Record& record) {
  CHECK(Wrong(record) == nullptr);
  return Pack(record);
}

std::optional<Record> DecodeRecord(const RecordHeader& header, std::size_t body_bytes,
                                   const char** why) {
  const auto refuse = [why](const char* text) {
    *why = text;
    return std::nullopt;
  };
  const auto& w = header.words;
  const std::uint8_t type = header.Type();
  if (type == 0 || type > static_cast<std::uint8_t>(kLastRecordType)) {
    return refuse("a record of no known type");
  }
  Record r;
  // NOLINTBEGIN(clang-analyzer-optin.core.EnumCastOutOfRange): both are checked.
  r.type = static_cast<RecordType>(type);
  const std::uint64_t flags = w[0] >> kFlagsAt;
  if ((flags & kPayloadMask) > static_cast<std::uint64_t>(PayloadKind::kSegment)) {
    return refuse("a payload of no known kind");
  }
  r.payload = static_cast<PayloadKind>(flags & kPayloadMask);
  // NOLINTEND(clang-analyzer-optin.core.EnumCastOutOfRange)
  r.home = (flags & kHomeReceiver) != 0 ? SegmentHome::kReceiver : SegmentHome::kSender;
  r.pass = (flags & kCopy) != 0 ? PassMode::kCopy : PassMode::kMove;
  r.call_id = w[1];
  r.request_id = w[2];
  r.payload_bytes = w[5];
  r.given_at = static_cast<MonotonicNs>(w[6]);
  r.slot = Bits16(w[7], 32);
  if (r.type == RecordType::kCall) {
    r.function = Low32(w[3]);
    r.caller_function = Low32(w[3] >> 32U);
    r.deadline = static_cast<MonotonicNs>(w[4]);
    r.depth = Low32(w[7]);
  } else if (r.type == RecordType::kValue) {
    r.hand_over_ns = w[3];
    r.copies = Low32(w[7]);
    r.value_id = w[4];
  } else if (r.type == RecordType::kReply) {
    const auto status = static_cast<std::uint8_t>(w[0] >> 40U);
    if (status != 0) {
      r.status = CallClassFromNumber(status);
      if (!r.status.has_value()) return refuse("a failure of no known class");
    }
    r.may_have_run = (flags & kMayHaveRun) != 0;
    r.hand_over_ns = w[4];
    r.guest_status = static_cast<std::int32_t>(Low32(w[7]));
    if ((flags & kReturnsSlot) != 0) r.returned_slot = Bits16(w[7], 48);
  }
  if (const char* wrong = Wrong(r); wrong != nullptr) return refuse(wrong);
  const std::uint64_t inline_bytes = r.payload == PayloadKind::kInline ? r.payload_bytes : 0;
  if ((inline_bytes + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment != body_bytes) {
    return refuse("a record of another length than its payload");
  }
  // Whatever bit was not understood above is missing when packed again.
  RecordHeader known = Pack(r);
  known.words[0] |= header.RecordBytes();
  if (known.words != w) return refuse("a field that its type does not have");
  return r;
}

}  // namespace cwasi::ipc
