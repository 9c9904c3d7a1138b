// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Other ways to bring a payload from a guest in one process to a guest in another. The bytes are
// sent from the guest's memory and received into it wherever that way allows it, and the guests
// touch them by the same code as cwasi's do.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"

namespace cwasi::bench {

struct Taken {
  MonotonicNs at = 0;  // When all bytes were in the taker's memory; FastNow.
  std::uint64_t sum = 0;
};

// Made before the fork of both sides. What can go wrong ends the process.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  Transport(Transport&&) = delete;
  Transport& operator=(Transport&&) = delete;
  virtual ~Transport() = default;

  // The taker's side, until it is killed. `took`: all of `to` is there.
  virtual void Serve(std::span<std::byte> to, const std::function<Taken()>& took) = 0;
  // The giver's.
  virtual Taken Give(std::span<const std::byte> from) = 0;
};

std::unique_ptr<Transport> UnixStream();
// In packets of 128 KiB.
std::unique_ptr<Transport> UnixPackets();
std::unique_ptr<Transport> Pipe();
// One copy in, one out; told by a socket.
std::unique_ptr<Transport> SharedMemory(std::size_t bytes);
// SET by the giver, GET by the taker, over the server's Unix socket in `folder`. A server of its
// own, which saves nothing to disk, dies with this object.
std::unique_ptr<Transport> Redis(const std::string& folder);
// POST over loopback TCP with keep-alive: cpp-httplib.
std::unique_ptr<Transport> Http();

}  // namespace cwasi::bench
