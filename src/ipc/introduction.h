// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How two workers meet: a worker asks `cwasi` for one that has a function; `cwasi` gives each of
// the two an end of a fresh socket pair, or refuses. Payloads and calls then go between the two
// alone.
//
// Source: docs/protocols/introduction.md. Neither side trusts the other's bytes.
//
// Errors: as ipc/control_socket.h. After any but one in encoding the socket is of no further use.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/call_error.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "ipc/relation.h"

namespace cwasi::ipc {

inline constexpr std::uint16_t kIntroductionVersion = 3;
inline constexpr std::size_t kMaxPeerFunctions = 10'000;
// Want sent and neither answered nor refused. A worker that has more is ended.
inline constexpr std::size_t kMaxWants = 64;

// Number of a worker, given by `cwasi` (Configure), never used twice in a run.
using WorkerId = std::uint32_t;

enum class WantedWorker : std::uint8_t {
  kAny = 0,
  kAnother = 1,  // Than those that it calls already: they are busy with its calls.
};

// Worker to cwasi: let me call this function.
struct Want {
  std::uint64_t token = 0;  // Chosen by the worker, not 0; the answer repeats it.
  std::uint32_t function_id = 0;
  WantedWorker worker = WantedWorker::kAny;
  bool operator==(const Want&) const = default;
};

enum class PeerRole : std::uint8_t {
  kCaller = 0,  // The receiver of the packet calls: it creates the channel.
  kCallee = 1,  // The receiver is called: it awaits the channel's handshake.
};
enum class PeerChannel : std::uint8_t {
  kNew = 0,       // With two descriptors: this end of the socket pair, a pidfd of the peer.
  kExisting = 1,  // With none: the pair, in these roles, has met, and no Lost has come since.
};

// cwasi to worker.
struct Peer {
  std::uint64_t token = 0;  // Of the Want; 0: nobody asked.
  PeerRole role = PeerRole::kCaller;
  PeerChannel channel = PeerChannel::kNew;
  Relation relation = Relation::kSameDomain;
  WorkerId worker = 0;                        // The peer.
  std::vector<std::uint32_t> functions = {};  // What the caller may call on this channel.
  bool operator==(const Peer&) const = default;
};

// cwasi to worker: no channel, and the call ends with this class; the callee has not run.
struct Refused {
  std::uint64_t token = 0;
  CallClass call_class = CallClass::kDenied;
  std::string text = {};
  bool operator==(const Refused&) const = default;
};

// Worker to cwasi: the channel on which it called `worker` has ended. So the two have not met, and
// the next Want may introduce them anew. Of one that it has not met: ignored.
struct Lost {
  WorkerId worker = 0;
  bool operator==(const Lost&) const = default;
};

using Introduction = std::variant<Want, Peer, Refused, Lost>;

// Descriptors that go with it: 0 or 2.
std::size_t DescriptorCount(const Introduction& message);

Result<std::vector<std::byte>> EncodeIntroduction(const Introduction& message);
Result<Introduction> DecodeIntroduction(std::span<const std::byte> packet);

// One end. Thread: Send any; Receive one at a time.
class IntroductionSocket {
 public:
  IntroductionSocket() = default;
  explicit IntroductionSocket(UniqueFd socket) : socket_(std::move(socket)) {}

  // `fds` stay the caller's.
  Result<> Send(const Introduction& message, std::span<const int> fds, MonotonicNs deadline) const;

  struct Incoming {
    Introduction message;
    UniqueFd socket;  // Both open exactly with a Peer of PeerChannel::kNew.
    UniqueFd pidfd;
  };
  Result<Incoming> Receive(MonotonicNs deadline);

  [[nodiscard]] int Fd() const noexcept { return socket_.Get(); }

 private:
  UniqueFd socket_;
  std::unique_ptr<std::byte[]> buffer_;  // Not zeroed: only pages that a packet fills are there.
};

}  // namespace cwasi::ipc
