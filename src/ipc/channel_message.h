// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What two workers say to each other through a channel's rings, and its 64 bytes.
// Format: docs/protocols/channel.md, "Records".
//
// Thread: any. Units: bytes; times are nanoseconds of CLOCK_MONOTONIC, the same for both ends.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/call_error.h"
#include "base/clock.h"
#include "ipc/ring.h"

namespace cwasi::ipc {

inline constexpr std::uint16_t kMaxSlots = 4096;  // Segments of one home in one channel.
inline constexpr std::uint32_t kMaxCallDepth = 1024;
inline constexpr std::uint64_t kMaxRecordPayloadBytes = std::uint64_t{1} << 30U;

enum class RecordType : std::uint8_t {
  kCall = 1,    // Caller to callee.
  kReply = 2,   // Callee to caller; the end of a kCall or kValue.
  kReturn = 3,  // Either way: a segment goes home without a payload.
  kCancel = 4,  // Caller to callee: nobody waits for this call any more. It is still answered.
  kValue = 5,   // Caller to callee: a workflow's value, to be kept.
  kClose = 6,   // Either way: the last record.
  kForget = 7,  // Either way: the sender's segment is no more; its slot is absent again.
};
inline constexpr RecordType kLastRecordType = RecordType::kForget;

enum class PayloadKind : std::uint8_t {
  kNone = 0,
  kInline = 1,   // In the ring, behind the header.
  kSegment = 2,  // At the start of the segment (home, slot).
};

// Whose pool a segment comes from and goes back to, as seen by who sends the record.
enum class SegmentHome : std::uint8_t { kSender = 0, kReceiver = 1 };

enum class PassMode : std::uint8_t { kMove = 0, kCopy = 1 };

// A record with all its fields; those that a type does not have are 0 and must stay so.
struct Record {
  RecordType type = RecordType::kCall;
  PayloadKind payload = PayloadKind::kNone;
  SegmentHome home = SegmentHome::kSender;  // Of `slot`.
  PassMode pass = PassMode::kMove;          // kCall, kReply, kValue: what the giver asked for.
  std::uint16_t slot = 0;  // kSegment, kReturn (home kReceiver), kForget (home kSender).
  // kReply: the segment that the request came in goes home to the receiver. Absent: there was
  // none, it is retained, or it is the payload of this reply.
  std::optional<std::uint16_t> returned_slot = {};
  std::uint64_t call_id = 0;          // Chosen by the caller; kCall, kReply, kCancel, kValue.
  std::uint64_t request_id = 0;       // Of the workflow's or user's request; kCall, kReply, kValue.
  std::uint32_t function = 0;         // kCall: the callee's; kValue: 0.
  std::uint32_t caller_function = 0;  // kCall.
  std::uint32_t depth = 0;            // kCall: nested calls above this one.
  MonotonicNs deadline = 0;           // kCall.
  std::uint64_t value_id = 0;         // kValue.
  std::uint64_t payload_bytes = 0;    // kNone: 0.
  MonotonicNs given_at = 0;           // When the giver's import began; 0: no payload given.
  std::optional<CallClass> status = {};  // kReply: how the call failed; absent: it succeeded.
  std::int32_t guest_status = 0;         // kReply with kGuestError.
  bool may_have_run = false;             // kReply.
  // kReply: what the request's hand-over took. kValue: what taking it from its giver took,
  std::uint64_t hand_over_ns = 0;
  std::uint32_t copies = 0;  // and how often its bytes were copied for that.

  bool operator==(const Record&) const = default;
};

// CHECKs what only we can get wrong: a field of another type, or out of its limits.
RecordHeader EncodeRecord(const Record& record);

// Checks every bit: a header is refused, or encodes to itself again (apart from record_bytes).
// `body_bytes` is what the ring holds behind the header. Absent: malformed, and `*why` (a constant
// text) says how.
std::optional<Record> DecodeRecord(const RecordHeader& header, std::size_t body_bytes,
                                   const char** why);

}  // namespace cwasi::ipc
