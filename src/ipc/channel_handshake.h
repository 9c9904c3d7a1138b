// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The packets on a channel's socket, and what is checked of a descriptor that came with one.
// Format: docs/protocols/channel.md, "Packets".
//
// Thread: any.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "base/result.h"
#include "ipc/channel_message.h"
#include "ipc/relation.h"
#include "ipc/ring.h"

namespace cwasi::ipc {

inline constexpr std::uint16_t kChannelVersion = 1;
inline constexpr std::size_t kChannelPacketBytes = 24;

// The memfd of a channel: a page with the offer and the words of both rings, then their bytes.
inline constexpr std::size_t kRequestWordsAt = 512;
inline constexpr std::size_t kReplyWordsAt = 1024;
inline constexpr std::size_t kRequestDataAt = 4096;
inline constexpr std::size_t kReplyDataAt = kRequestDataAt + kRingBytes;
inline constexpr std::size_t kChannelMemoryBytes = kReplyDataAt + kRingBytes;

inline constexpr std::size_t kSegmentUnitBytes = std::size_t{2} * 1024 * 1024;
inline constexpr std::uint32_t kMaxSegmentUnits = 512;  // kMaxRecordPayloadBytes.

enum class Verdict : std::uint8_t {
  kAccepted = 0,
  kVersion = 1,    // The packet of the answer says which one the callee speaks.
  kMalformed = 2,  // Fields that no caller of this version sends.
  kMemory = 3,     // The descriptor is not the memory it should be.
  kRelation = 4,   // The introducer told the callee another relation.
  kResources = 5,  // The callee cannot map it now.
};
inline constexpr Verdict kLastVerdict = Verdict::kResources;
// "it speaks another version", for messages.
std::string Describe(Verdict verdict);

// Caller to callee, first, with the memory.
struct ChannelOffer {
  Relation relation = Relation::kSameDomain;
  bool operator==(const ChannelOffer&) const = default;
};
// Callee to caller, its first.
struct ChannelAnswer {
  Verdict verdict = Verdict::kAccepted;
  bool operator==(const ChannelAnswer&) const = default;
};
// Either way, any time after that, with the segment.
struct SegmentPacket {
  std::uint16_t slot = 0;
  std::uint32_t units = 1;  // Of 2 MiB.
  bool operator==(const SegmentPacket&) const = default;
};
using ChannelPacket = std::variant<ChannelOffer, ChannelAnswer, SegmentPacket>;

// CHECKs the limits.
std::array<std::byte, kChannelPacketBytes> EncodePacket(const ChannelPacket& packet);
// Errors: kFailedPrecondition (another version, which the message names), kInvalidArgument.
Result<ChannelPacket> DecodePacket(std::span<const std::byte> bytes);

// Writable, of exactly `bytes`, in ordinary pages, sealed against shrinking and growing: what can
// be mapped without the peer being able to end us by SIGBUS or to let us wait. Returns the seals.
// Errors: kInvalidArgument.
Result<int> CheckSealedMemory(int fd, std::size_t bytes);

}  // namespace cwasi::ipc
