// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/introduction.h"

#include <sys/socket.h>

#include <type_traits>
#include <utility>

#include "base/check.h"
#include "ipc/tagged.h"
#include "os/unix_socket.h"

namespace cwasi::ipc {
namespace {

constexpr TaggedFormat kFormat = {
    .magic = 0x4e495743,  // "CWIN"
    .version = kIntroductionVersion,
    .name = "introduction",
};
constexpr std::size_t kMaxRefusalBytes = 1024;
constexpr std::size_t kMaxPacketBytes = 8 + 8 + 7 + 4 + 4 * kMaxPeerFunctions;
static_assert(kMaxRefusalBytes < kMaxPacketBytes);

template <class Io, class M>
using Ref = std::conditional_t<Io::kReads, M, const M>&;

template <class Io>
void Fields(Io& io, Ref<Io, Want> m) {
  io.Number(m.token);
  if (m.token == 0) io.Refuse("token", "0");
  io.Number(m.function_id);
  io.Enum(m.worker, WantedWorker::kAny, WantedWorker::kAnother, "worker");
}

template <class Io>
void Fields(Io& io, Ref<Io, Peer> m) {
  io.Number(m.token);
  io.Enum(m.role, PeerRole::kCaller, PeerRole::kCallee, "role");
  io.Enum(m.channel, PeerChannel::kNew, PeerChannel::kExisting, "channel");
  io.Enum(m.relation, Relation::kSameDomain, Relation::kOtherDomain, "relation");
  io.Number(m.worker);
  io.List(m.functions, kMaxPeerFunctions, 4, "functions",
          [](auto& inner, auto& id) { inner.Number(id); });
  if (m.role == PeerRole::kCallee && m.channel == PeerChannel::kExisting) {
    io.Refuse("channel", "a callee is told once");
  }
}

template <class Io>
void Fields(Io& io, Ref<Io, Refused> m) {
  io.Number(m.token);
  if (m.token == 0) io.Refuse("token", "0");
  io.Enum(m.call_class, CallClass::kNotFound, kLastCallClass, "class");
  io.CutText(m.text, kMaxRefusalBytes, "refusal");
  if (FixedMayHaveRun(m.call_class).value_or(false)) {
    io.Refuse("class", "one after which the callee may have run");
  }
}

template <class Io>
void Fields(Io& io, Ref<Io, Lost> m) {
  io.Number(m.worker);
}

constexpr auto kDescribe = [](auto& io, auto& message) { Fields(io, message); };

tl::unexpected<Error> Broken(const char* how) {
  return Fail(ErrorCode::kInvalidArgument, std::string("introduction: ") + how);
}

}  // namespace

std::size_t DescriptorCount(const Introduction& message) {
  const auto* peer = std::get_if<Peer>(&message);
  return peer != nullptr && peer->channel == PeerChannel::kNew ? 2 : 0;
}

Result<std::vector<std::byte>> EncodeIntroduction(const Introduction& message) {
  return EncodeTagged(kFormat, message, kDescribe);
}

Result<Introduction> DecodeIntroduction(std::span<const std::byte> packet) {
  return DecodeTagged<Introduction>(kFormat, packet, kDescribe);
}

Result<> IntroductionSocket::Send(const Introduction& message, std::span<const int> fds,
                                  MonotonicNs deadline) const {
  CHECK(fds.size() == DescriptorCount(message));
  TRY_SET(const auto bytes, EncodeIntroduction(message));
  return os::SendPacket(socket_.Get(), bytes, fds, deadline);
}

Result<IntroductionSocket::Incoming> IntroductionSocket::Receive(MonotonicNs deadline) {
  if (buffer_ == nullptr) buffer_ = std::make_unique_for_overwrite<std::byte[]>(kMaxPacketBytes);
  const std::span buffer(buffer_.get(), kMaxPacketBytes);
  TRY_SET(os::Packet packet, os::ReceivePacket(socket_.Get(), buffer, 2, deadline));
  Incoming incoming;
  TRY_SET(incoming.message, DecodeIntroduction(buffer.first(packet.size_bytes)));
  if (packet.fds.size() != DescriptorCount(incoming.message)) {
    return Broken("wrong number of descriptors");
  }
  if (packet.fds.empty()) return incoming;
  incoming.socket = std::move(packet.fds[0]);
  incoming.pidfd = std::move(packet.fds[1]);
  int type = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(incoming.socket.Get(), SOL_SOCKET, SO_TYPE, &type, &length) != 0 ||
      type != SOCK_SEQPACKET) {
    return Broken("the first descriptor is no packet socket");
  }
  return incoming;
}

}  // namespace cwasi::ipc
