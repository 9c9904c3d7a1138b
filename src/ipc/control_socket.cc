// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/control_socket.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "os/unix_socket.h"

namespace cwasi::ipc {
namespace {

constexpr int kBodySeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
constexpr std::size_t kMaxPacketFds = 2;  // The request's own, and a detached body.

Result<UniqueFd> DetachBody(std::span<const std::byte> body) {
  UniqueFd fd(::memfd_create("cwasi-control", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.IsOpen()) {
    return Fail(ErrorCode::kResourceExhausted, "create memfd for a control body", errno);
  }
  while (!body.empty()) {
    const ssize_t written = ::write(fd.Get(), body.data(), body.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Fail(ErrorCode::kResourceExhausted, "write a control body", errno);
    body = body.subspan(static_cast<std::size_t>(written));
  }
  if (::fcntl(fd.Get(), F_ADD_SEALS, kBodySeals | F_SEAL_SEAL) != 0) {
    return Fail(ErrorCode::kInternal, "seal a control body", errno);
  }
  return fd;
}

// Fills `body` from a descriptor that a peer calls its body.
Result<> ReadDetachedBody(int fd, std::span<std::byte> body) {
  // Only a memfd has seals: of a pipe, a device or a FUSE file the peer could let us wait for ever.
  const int seals = ::fcntl(fd, F_GET_SEALS);
  struct stat status{};
  if (seals < 0 || (seals & kBodySeals) != kBodySeals || ::fstat(fd, &status) != 0 ||
      static_cast<std::size_t>(status.st_size) != body.size()) {
    return Fail(ErrorCode::kInvalidArgument,
                "detached control body: not a sealed memfd of the length announced");
  }
  std::size_t done = 0;
  while (done < body.size()) {
    const ssize_t got =
        ::pread(fd, body.data() + done, body.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Fail(ErrorCode::kInternal, "read a detached control body", errno);
    done += static_cast<std::size_t>(got);
  }
  return {};
}

}  // namespace

Result<> ControlSocket::Send(std::span<const std::byte> message, int fd, MonotonicNs deadline) {
  TRY_SET(Header header, DecodeHeader(message));
  CHECK((fd >= 0 ? 1U : 0U) ==
        (header.kind == MessageKind::kRequest ? DescriptorCount(header.type) : 0U));
  std::vector<int> fds;
  if (fd >= 0) fds.push_back(fd);
  if (header.body_bytes <= kMaxInlineBodyBytes) {
    return os::SendPacket(socket_.Get(), message, fds, deadline);
  }
  TRY_SET(const UniqueFd body, DetachBody(message.subspan(kHeaderBytes)));
  fds.push_back(body.Get());
  header.detached = true;
  return os::SendPacket(socket_.Get(), EncodeHeader(header), fds, deadline);
}

Result<ControlSocket::Message> ControlSocket::Receive(MessageKind kind, MonotonicNs deadline) {
  constexpr std::size_t kBytes = kHeaderBytes + kMaxInlineBodyBytes;
  if (buffer_ == nullptr) buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBytes);
  const std::span buffer(buffer_.get(), kBytes);
  TRY_SET(os::Packet packet, os::ReceivePacket(socket_.Get(), buffer, kMaxPacketFds, deadline));
  const std::span<const std::byte> bytes = buffer.first(packet.size_bytes);
  Message message;
  TRY_SET(message.header, DecodeHeader(bytes));
  Header& header = message.header;
  if (header.kind != kind) {
    return Fail(ErrorCode::kInvalidArgument, "control message: wrong direction");
  }
  const std::size_t own_fds = kind == MessageKind::kRequest ? DescriptorCount(header.type) : 0;
  if (packet.fds.size() != own_fds + (header.detached ? 1U : 0U)) {
    return Fail(ErrorCode::kInvalidArgument, "control message: wrong number of descriptors");
  }
  if (own_fds == 1) message.fd = std::move(packet.fds.front());
  if (!header.detached) {
    message.bytes.assign(bytes.begin(), bytes.end());
    return message;
  }
  if (bytes.size() != kHeaderBytes) {
    return Fail(ErrorCode::kInvalidArgument, "control message: a body both inline and detached");
  }
  header.detached = false;
  message.bytes = EncodeHeader(header);
  message.bytes.resize(kHeaderBytes + header.body_bytes);
  TRY(ReadDetachedBody(packet.fds.back().Get(), std::span(message.bytes).subspan(kHeaderBytes)));
  return message;
}

Result<> ControlClient::Ask(RequestBody body, int fd, MonotonicNs deadline) {
  if (outstanding_.size() >= kMaxOutstanding) {
    return Fail(ErrorCode::kFailedPrecondition, "send control request: too many unanswered");
  }
  const Awaited awaited{.type = TypeOf(body), .sequence = next_sequence_};
  TRY_SET(const auto message,
          EncodeRequest({.sequence = awaited.sequence, .body = std::move(body)}));
  TRY(socket_.Send(message, fd, deadline));
  ++next_sequence_;
  outstanding_.push_back(awaited);
  return {};
}

Result<ResponseBody> ControlClient::Answer(MonotonicNs deadline) {
  if (outstanding_.empty()) {
    return Fail(ErrorCode::kFailedPrecondition, "receive control response: nothing was asked");
  }
  TRY_SET(const auto message, socket_.Receive(MessageKind::kResponse, deadline));
  TRY_SET(Response response, DecodeResponse(message.bytes));
  const Awaited awaited = outstanding_.front();
  if (response.type != awaited.type || response.sequence != awaited.sequence) {
    return Fail(ErrorCode::kInvalidArgument, "control response: to another request");
  }
  outstanding_.pop_front();
  return std::move(response.body);
}

Result<ResponseBody> ControlClient::Call(RequestBody body, int fd, MonotonicNs deadline) {
  CHECK(outstanding_.empty());
  TRY(Ask(std::move(body), fd, deadline));
  return Answer(deadline);
}

Result<ControlServer::Incoming> ControlServer::Next(MonotonicNs deadline) {
  CHECK(!current_.has_value());
  TRY_SET(ControlSocket::Message message, socket_.Receive(MessageKind::kRequest, deadline));
  TRY_SET(Request request, DecodeRequest(message.bytes));
  current_ = message.header;
  return Incoming{.body = std::move(request.body), .fd = std::move(message.fd)};
}

Result<> ControlServer::Reply(ResponseBody body, MonotonicNs deadline) {
  CHECK(current_.has_value());
  TRY_SET(const auto message,
          EncodeResponse({.type = current_->type,  // NOLINT(bugprone-unchecked-optional-access)
                          .sequence = current_->sequence,
                          .body = std::move(body)}));
  TRY(socket_.Send(message, -1, deadline));
  current_.reset();
  return {};
}

}  // namespace cwasi::ipc
