// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What `cwasi` and its zygote say to each other: fork a worker, a worker has ended.
//
// Source: docs/protocols/zygote.md. Neither side trusts the other's bytes.
//
// Errors: as ipc/control_socket.h. After any but one in encoding the socket is of no further use.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "ipc/introduction.h"

namespace cwasi::ipc {

inline constexpr std::uint16_t kZygoteVersion = 2;

// cwasi to zygote, the first packet.
struct Greet {
  bool operator==(const Greet&) const = default;
};
// cwasi to zygote, with two descriptors: the worker's control socket and its introductions.
struct ForkWorker {
  WorkerId worker = 0;
  bool operator==(const ForkWorker&) const = default;
};
// cwasi to zygote: kill what lives, reap it, exit. Answered by Ended for each and the socket's end.
struct EndAll {
  bool operator==(const EndAll&) const = default;
};

// Zygote to cwasi: it is ready to fork.
struct Greeting {
  std::uint32_t pid = 0;
  std::string sandbox = {};  // What will be around its workers, for people; one line.
  bool operator==(const Greeting&) const = default;
};
// Zygote to cwasi, with one descriptor: a pidfd of the worker, opened before it could be reaped.
struct Forked {
  WorkerId worker = 0;
  std::uint32_t pid = 0;
  bool operator==(const Forked&) const = default;
};
struct ForkFailed {
  WorkerId worker = 0;
  std::int32_t sys_errno = 0;
  std::string message = {};
  bool operator==(const ForkFailed&) const = default;
};
// Zygote to cwasi: it has reaped the worker. Once for each Forked, after it.
struct Ended {
  WorkerId worker = 0;
  bool by_signal = false;
  std::int32_t code = 0;  // Exit code, or the signal.
  bool operator==(const Ended&) const = default;
};

using ZygoteMessage = std::variant<Greet, ForkWorker, EndAll, Greeting, Forked, ForkFailed, Ended>;

// Descriptors that go with it: 0 to 2.
std::size_t DescriptorCount(const ZygoteMessage& message);

Result<std::vector<std::byte>> EncodeZygoteMessage(const ZygoteMessage& message);
Result<ZygoteMessage> DecodeZygoteMessage(std::span<const std::byte> packet);

// One end. Thread: the one that owns it.
class ZygoteSocket {
 public:
  ZygoteSocket() = default;
  explicit ZygoteSocket(UniqueFd socket) : socket_(std::move(socket)) {}

  // `fds` stay the caller's.
  Result<> Send(const ZygoteMessage& message, std::span<const int> fds, MonotonicNs deadline) const;

  struct Incoming {
    ZygoteMessage message;
    std::vector<UniqueFd> fds;  // As many as DescriptorCount says.
  };
  [[nodiscard]] Result<Incoming> Receive(MonotonicNs deadline) const;

  [[nodiscard]] int Fd() const noexcept { return socket_.Get(); }

 private:
  UniqueFd socket_;
};

}  // namespace cwasi::ipc
