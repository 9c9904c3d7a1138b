// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/unix_socket.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <string>
#include <utility>

#include "base/check.h"

namespace cwasi::os {
namespace {

constexpr std::size_t kMaxFds = 253;  // SCM_MAX_FD, include/net/scm.h.

tl::unexpected<Error> SocketFailure(const char* what, int error) {
  switch (error) {
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
      return Fail(ErrorCode::kUnavailable, std::string(what) + ": the peer is gone", error);
    case EMSGSIZE:
      return Fail(ErrorCode::kInvalidArgument, std::string(what) + ": larger than a packet", error);
    case ENOBUFS:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ETOOMANYREFS:  // More descriptors in flight than RLIMIT_NOFILE.
      return Fail(ErrorCode::kResourceExhausted, std::string(what) + ": out of resources", error);
    default:
      return Fail(ErrorCode::kInternal, what, error);
  }
}

// Until `events` or a hang-up, which the next call on the socket then reports.
Result<> Wait(int socket, short events, MonotonicNs deadline, const char* what) {
  for (;;) {
    timespec left{};
    const MonotonicNs left_ns = std::max<MonotonicNs>(deadline - Now(), 0);
    left.tv_sec = left_ns / 1'000'000'000;
    left.tv_nsec = left_ns % 1'000'000'000;
    pollfd entry{.fd = socket, .events = events, .revents = 0};
    const int ready = ::ppoll(&entry, 1, deadline == kNoDeadline ? nullptr : &left, nullptr);
    if (ready > 0) return {};
    if (ready == 0) return Fail(ErrorCode::kDeadlineExceeded, std::string(what) + ": no time left");
    if (errno != EINTR) return SocketFailure(what, errno);
  }
}

// Takes every descriptor out of `message`, so that none leaks however the packet is judged.
std::vector<UniqueFd> TakeFds(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<SocketPair> CreatePacketPair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return SocketFailure("create socket pair", errno);
  }
  return SocketPair{.first = UniqueFd(fds[0]), .second = UniqueFd(fds[1])};
}

Result<> SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> fds,
                    MonotonicNs deadline) {
  CHECK(!bytes.empty() && fds.size() <= kMaxFds);
  iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<std::byte> control(fds.empty() ? 0 : CMSG_SPACE(fds.size_bytes()));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return SocketFailure("send packet", errno);
    TRY(Wait(socket, POLLOUT, deadline, "send packet"));
  }
}

Result<Packet> ReceivePacket(int socket, std::span<std::byte> buffer, std::size_t max_fds,
                             MonotonicNs deadline) {
  CHECK(!buffer.empty() && max_fds <= kMaxFds);
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  // Room for one more than allowed: the kernel drops what does not fit, and one too many is enough
  // to refuse.
  std::vector<std::byte> control(CMSG_SPACE((max_fds + 1) * sizeof(int)));
  bool was_reset = false;
  for (;;) {
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0) {
      if (errno == EINTR) continue;
      // A peer that ended without having read all of ours: said once, before what it sent itself,
      // which is still there (net/unix/af_unix.c, unix_release_sock).
      if (errno == ECONNRESET && !std::exchange(was_reset, true)) continue;
      if (errno != EAGAIN) return SocketFailure("receive packet", errno);
      TRY(Wait(socket, POLLIN, deadline, "receive packet"));
      continue;
    }
    Packet packet{.size_bytes = static_cast<std::size_t>(got), .fds = TakeFds(message)};
    const auto flags = static_cast<unsigned>(message.msg_flags);
    if ((flags & MSG_TRUNC) != 0) {
      return Fail(ErrorCode::kInvalidArgument, "receive packet: longer than the buffer");
    }
    // This process had no descriptors left for some of them.
    if ((flags & MSG_CTRUNC) != 0 && packet.fds.size() < max_fds) {
      return Fail(ErrorCode::kResourceExhausted, "receive packet: no descriptors left", EMFILE);
    }
    if ((flags & MSG_CTRUNC) != 0 || packet.fds.size() > max_fds) {
      return Fail(ErrorCode::kInvalidArgument, "receive packet: more descriptors than fit");
    }
    if (got == 0) return SocketFailure("receive packet", EPIPE);
    return packet;
  }
}

}  // namespace cwasi::os
