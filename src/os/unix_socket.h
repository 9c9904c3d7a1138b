// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Whole packets, with descriptors, between two processes: SOCK_SEQPACKET and SCM_RIGHTS.
// Source: unix(7), cmsg(3).
//
// Thread: any; a packet is sent or received whole. Every wait ends at `deadline`, a time of Now().
// Errors: kUnavailable (the peer is gone), kDeadlineExceeded, kInvalidArgument (a packet that does
// not fit or was cut), kResourceExhausted (memory, descriptors), kInternal.

#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::os {

struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};

// Both ends are CLOEXEC.
Result<SocketPair> CreatePacketPair();

// `bytes` must not be empty: nobody can tell an empty packet from the end of the socket.
// `fds` stay the caller's. At most 253 (SCM_MAX_FD).
Result<> SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> fds,
                    MonotonicNs deadline);

struct Packet {
  std::size_t size_bytes = 0;  // What was written to the buffer.
  std::vector<UniqueFd> fds;   // CLOEXEC.
};

// kInvalidArgument also when more than `max_fds` came; all that came are closed then.
Result<Packet> ReceivePacket(int socket, std::span<std::byte> buffer, std::size_t max_fds,
                             MonotonicNs deadline);

}  // namespace cwasi::os
