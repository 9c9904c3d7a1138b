// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/zygote_message.h"

#include <array>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "ipc/tagged.h"
#include "os/unix_socket.h"

namespace cwasi::ipc {
namespace {

constexpr TaggedFormat kFormat = {
    .magic = 0x475a5743,  // "CWZG"
    .version = kZygoteVersion,
    .name = "zygote",
};
constexpr std::size_t kMaxFailureBytes = 1024;
constexpr std::size_t kMaxSandboxBytes = 1024;
constexpr std::size_t kMaxPacketBytes = 2048;
constexpr std::size_t kMaxFds = 2;

template <class Io, class M>
using Ref = std::conditional_t<Io::kReads, M, const M>&;

template <class Io>
void Fields(Io& /*io*/, Ref<Io, Greet> /*m*/) {}
template <class Io>
void Fields(Io& io, Ref<Io, ForkWorker> m) {
  io.Number(m.worker);
}
template <class Io>
void Fields(Io& /*io*/, Ref<Io, EndAll> /*m*/) {}
template <class Io>
void Fields(Io& io, Ref<Io, Greeting> m) {
  io.Number(m.pid);
  io.CutText(m.sandbox, kMaxSandboxBytes, "sandbox");
}
template <class Io>
void Fields(Io& io, Ref<Io, Forked> m) {
  io.Number(m.worker);
  io.Number(m.pid);
}
template <class Io>
void Fields(Io& io, Ref<Io, ForkFailed> m) {
  io.Number(m.worker);
  io.Number(m.sys_errno);
  io.CutText(m.message, kMaxFailureBytes, "fork failure");
}
template <class Io>
void Fields(Io& io, Ref<Io, Ended> m) {
  io.Number(m.worker);
  io.Flag(m.by_signal);
  io.Number(m.code);
}

constexpr auto kDescribe = [](auto& io, auto& message) { Fields(io, message); };

}  // namespace

std::size_t DescriptorCount(const ZygoteMessage& message) {
  if (std::holds_alternative<ForkWorker>(message)) return 2;
  return std::holds_alternative<Forked>(message) ? 1 : 0;
}

Result<std::vector<std::byte>> EncodeZygoteMessage(const ZygoteMessage& message) {
  return EncodeTagged(kFormat, message, kDescribe);
}

Result<ZygoteMessage> DecodeZygoteMessage(std::span<const std::byte> packet) {
  return DecodeTagged<ZygoteMessage>(kFormat, packet, kDescribe);
}

Result<> ZygoteSocket::Send(const ZygoteMessage& message, std::span<const int> fds,
                            MonotonicNs deadline) const {
  CHECK(fds.size() == DescriptorCount(message));
  TRY_SET(const auto bytes, EncodeZygoteMessage(message));
  return os::SendPacket(socket_.Get(), bytes, fds, deadline);
}

Result<ZygoteSocket::Incoming> ZygoteSocket::Receive(MonotonicNs deadline) const {
  std::array<std::byte, kMaxPacketBytes> buffer{};
  TRY_SET(os::Packet packet, os::ReceivePacket(socket_.Get(), buffer, kMaxFds, deadline));
  Incoming incoming;
  TRY_SET(incoming.message, DecodeZygoteMessage(std::span(buffer).first(packet.size_bytes)));
  if (packet.fds.size() != DescriptorCount(incoming.message)) {
    return Fail(ErrorCode::kInvalidArgument, "zygote message: wrong number of descriptors");
  }
  incoming.fds = std::move(packet.fds);
  return incoming;
}

}  // namespace cwasi::ipc
