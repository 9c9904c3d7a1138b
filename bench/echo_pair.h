// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Two processes and one way for them to talk: the caller sends a message, the callee counts its
// first word up and sends it back. Between batches the callee sleeps on a pipe, whatever the way.
//
// Failures end the program.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace cwasi::bench {

// A way to talk; made before the fork, used by one end in each process.
class Echo {
 public:
  Echo() = default;
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;
  Echo(Echo&&) = delete;
  Echo& operator=(Echo&&) = delete;
  virtual ~Echo() = default;
  // After the fork, before the first message.
  virtual void BecomeCaller() = 0;
  virtual void BecomeCallee() = 0;
  // One message there and one back, of the size that both were made for.
  virtual void Call(std::span<const std::byte> request, std::span<std::byte> reply) = 0;
  virtual void Answer(std::span<std::byte> message) = 0;
};

enum class EchoKind : std::uint8_t {
  kBareSpin,       // Two words and two buffers in shared memory; both spin.
  kBareFutex,      // The same; both sleep in the kernel each time.
  kChannel,        // As workers wait: adaptive.
  kChannelAsleep,  // Nobody spins.
  kChannelIdle,    // The callee sleeps each time; the caller is adaptive.
  kUnixStream,
  kUnixSeqpacket,
  kPipe,
  kTcp,
};
std::string Name(EchoKind kind);

// Whether kChannel looks at what else runs on the machine before it spins.
enum class Crowd : std::uint8_t { kRespect, kIgnore };

// The calling process is the caller; the callee is a child that lives as long as the object.
class EchoPair {
 public:
  // `callee_cpu`: where to pin the callee; -1: nowhere.
  EchoPair(EchoKind kind, std::size_t bytes, int callee_cpu, Crowd crowd);
  EchoPair(const EchoPair&) = delete;
  EchoPair& operator=(const EchoPair&) = delete;
  EchoPair(EchoPair&&) = delete;
  EchoPair& operator=(EchoPair&&) = delete;
  ~EchoPair();

  // `count` round trips; nanoseconds for each. Every answer is checked.
  double Batch(std::uint64_t count);

 private:
  std::size_t bytes_;
  std::unique_ptr<Echo> echo_;
  std::uint64_t number_ = 0;
  int go_ = -1;
  int child_ = -1;
};

}  // namespace cwasi::bench
