// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/channel_handshake.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace cwasi::ipc {
namespace {

constexpr std::uint32_t kMagic = 0x4e484357;  // "WCHN"

enum class PacketType : std::uint8_t { kOffer = 1, kAnswer = 2, kSegment = 3 };

struct Wire {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kChannelVersion;
  PacketType type = PacketType::kOffer;
  std::uint8_t detail = 0;
  std::array<std::uint32_t, 4> fields = {};
};
static_assert(sizeof(Wire) == kChannelPacketBytes);

constexpr std::array<std::uint32_t, 4> kSizes = {kChannelMemoryBytes, kRingBytes, kMaxInlineBytes,
                                                 kMaxSlots};

tl::unexpected<Error> Malformed(const char* what) {
  return Fail(ErrorCode::kInvalidArgument, std::string("channel packet: ") + what);
}

}  // namespace

std::string Describe(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAccepted:
      return "accepted";
    case Verdict::kVersion:
      return "it speaks another version";
    case Verdict::kMalformed:
      return "it found the offer malformed";
    case Verdict::kMemory:
      return "it found the memory not to be a sealed memfd of the right size";
    case Verdict::kRelation:
      return "it was told another relation of the trust domains";
    case Verdict::kResources:
      return "it has no memory or descriptors left";
  }
  return "";
}

std::array<std::byte, kChannelPacketBytes> EncodePacket(const ChannelPacket& packet) {
  Wire wire;
  if (const auto* offer = std::get_if<ChannelOffer>(&packet)) {
    wire.type = PacketType::kOffer;
    wire.detail = static_cast<std::uint8_t>(offer->relation);
    wire.fields = kSizes;
  } else if (const auto* answer = std::get_if<ChannelAnswer>(&packet)) {
    wire.type = PacketType::kAnswer;
    wire.detail = static_cast<std::uint8_t>(answer->verdict);
  } else {
    const auto& segment = std::get<SegmentPacket>(packet);
    CHECK(segment.slot < kMaxSlots && segment.units >= 1 && segment.units <= kMaxSegmentUnits);
    wire.type = PacketType::kSegment;
    wire.fields = {segment.slot, segment.units, 0, 0};
  }
  std::array<std::byte, kChannelPacketBytes> bytes{};
  std::memcpy(bytes.data(), &wire, sizeof wire);
  return bytes;
}

Result<ChannelPacket> DecodePacket(std::span<const std::byte> bytes) {
  Wire wire;
  // Magic and version stay where they are in every version, whatever follows.
  if (bytes.size() < 8) return Malformed("too short");
  std::memcpy(&wire, bytes.data(), std::min(bytes.size(), sizeof wire));
  if (wire.magic != kMagic) return Malformed("not of a channel");
  if (wire.version != kChannelVersion) {
    return Fail(ErrorCode::kFailedPrecondition,
                "channel: the peer speaks version " + std::to_string(wire.version) +
                    ", this worker version " + std::to_string(kChannelVersion));
  }
  if (bytes.size() != sizeof wire) return Malformed("of another length");
  constexpr std::array<std::uint32_t, 4> kNothing = {};
  switch (wire.type) {
    case PacketType::kOffer:
      if (wire.fields != kSizes) return Malformed("other sizes in an offer");
      if (wire.detail > static_cast<std::uint8_t>(Relation::kOtherDomain)) {
        return Malformed("an offer of no known relation");
      }
      return ChannelOffer{.relation = static_cast<Relation>(wire.detail)};
    case PacketType::kAnswer:
      if (wire.fields != kNothing) return Malformed("fields in an answer");
      if (wire.detail > static_cast<std::uint8_t>(kLastVerdict)) {
        return Malformed("an answer of no known verdict");
      }
      return ChannelAnswer{.verdict = static_cast<Verdict>(wire.detail)};
    case PacketType::kSegment:
      if (wire.detail != 0 || wire.fields[2] != 0 || wire.fields[3] != 0) {
        return Malformed("other fields in a segment");
      }
      if (wire.fields[0] >= kMaxSlots) return Malformed("a slot out of range");
      if (wire.fields[1] < 1 || wire.fields[1] > kMaxSegmentUnits) {
        return Malformed("a segment of an impossible size");
      }
      return SegmentPacket{.slot = static_cast<std::uint16_t>(wire.fields[0]),
                           .units = wire.fields[1]};
  }
  return Malformed("of no known type");
}

Result<int> CheckSealedMemory(int fd, std::size_t bytes) {
  const auto refuse = [](const char* what) {
    return Fail(ErrorCode::kInvalidArgument, std::string("shared memory from a peer: ") + what);
  };
  // Only memfds have seals; files of tmpfs have F_SEAL_SEAL alone, all others fail
  // (memfd_create(2)).
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return refuse("not a memfd");
  constexpr int kNeeded = F_SEAL_SHRINK | F_SEAL_GROW;
  if ((seals & kNeeded) != kNeeded) return refuse("not sealed against another size");
  struct stat status{};
  if (::fstat(fd, &status) != 0 || static_cast<std::size_t>(status.st_size) != bytes) {
    return refuse("of another size");
  }
  // Huge pages have other rules for mapping and moving, and run out with SIGBUS.
  struct statfs system{};
  if (::fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC) {
    return refuse("not in ordinary pages");
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) != O_RDWR) return refuse("not open for writing");
  return seals;
}

}  // namespace cwasi::ipc
