// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The control protocol on a socket: requests and their one descriptor, responses, and bodies that
// are too long for a packet. Protocol: docs/protocols/control.md.
//
// Thread: the one that owns the object. Deadlines are times of Now().
// Errors: kUnavailable (the peer is gone), kDeadlineExceeded, kInvalidArgument (the peer broke the
// protocol; or a message of ours is out of its limits), kFailedPrecondition (another version),
// kResourceExhausted. After any error but one in encoding the connection is of no further use: a
// response that came too late would be taken for the next one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "ipc/control.h"

namespace cwasi::ipc {

// Whole messages either way; what both ends share.
class ControlSocket {
 public:
  // `socket`: one end of os::CreatePacketPair().
  explicit ControlSocket(UniqueFd socket) : socket_(std::move(socket)) {}

  // A message of EncodeRequest or EncodeResponse, with `fd` unless it is -1.
  Result<> Send(std::span<const std::byte> message, int fd, MonotonicNs deadline);

  struct Message {
    Header header;
    std::vector<std::byte> bytes;  // As EncodeRequest or EncodeResponse made them.
    UniqueFd fd;                   // Open if the request's type carries one.
  };
  Result<Message> Receive(MessageKind kind, MonotonicNs deadline);

  [[nodiscard]] int Fd() const noexcept { return socket_.Get(); }

 private:
  UniqueFd socket_;
  std::unique_ptr<std::byte[]> buffer_;  // Not zeroed: only pages that a packet fills are there.
};

// The side that asks.
class ControlClient {
 public:
  // Requests sent and not answered. Beyond it Ask refuses: the worker's answers would fill the
  // socket while the worker cannot read on.
  static constexpr std::size_t kMaxOutstanding = 32;

  explicit ControlClient(UniqueFd socket) : socket_(std::move(socket)) {}

  // Sends a request; `fd` stays the caller's, -1 if the type carries none. Also
  // kFailedPrecondition: kMaxOutstanding reached.
  Result<> Ask(RequestBody body, int fd, MonotonicNs deadline);
  // The answer to the oldest request that has none. kFailedPrecondition: there is none.
  Result<ResponseBody> Answer(MonotonicNs deadline);
  // Both, while nothing is outstanding.
  Result<ResponseBody> Call(RequestBody body, int fd, MonotonicNs deadline);

  [[nodiscard]] std::size_t Outstanding() const noexcept { return outstanding_.size(); }
  [[nodiscard]] int Fd() const noexcept { return socket_.Fd(); }

 private:
  struct Awaited {
    MessageType type = MessageType::kHello;
    std::uint64_t sequence = 0;
  };
  ControlSocket socket_;
  std::uint64_t next_sequence_ = 1;
  std::deque<Awaited> outstanding_;
};

// The side that answers: Next, Reply, Next, Reply.
class ControlServer {
 public:
  explicit ControlServer(UniqueFd socket) : socket_(std::move(socket)) {}

  struct Incoming {
    RequestBody body;
    UniqueFd fd;  // Open exactly if DescriptorCount of the type is 1.
  };
  Result<Incoming> Next(MonotonicNs deadline);
  // Answers the request that Next gave. `body` must belong to its type.
  Result<> Reply(ResponseBody body, MonotonicNs deadline);

  [[nodiscard]] int Fd() const noexcept { return socket_.Fd(); }

 private:
  ControlSocket socket_;
  std::optional<Header> current_;
};

}  // namespace cwasi::ipc
