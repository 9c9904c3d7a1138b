// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A caller and a callee in processes of their own that do what the benchmark's process orders, and
// a bare pair beside them. The benchmark's process has one thread and only waits.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/bare_pair.h"
#include "bench/local_worker.h"
#include "bench/report.h"
#include "test/support/peer_process.h"

namespace cwasi::bench {

// What the guest in bench/guests/driver.c does.
enum class Op : std::uint32_t {
  kSmall,
  kMoved,
  kCopied,
  kTouch,
  kGiven,
  kMovedRoused,
  kGivenRoused,
  kMovedFor,
};

std::uint64_t SumOfWords(std::size_t bytes, std::uint64_t seed);

struct Order {
  enum class Task : std::uint32_t {
    kGuest,      // `op`, `count` times; a sample is the mean of them.
    kRoundTrip,  // Of the bare pair, `count` times.
    kOneWay,     // Of the bare pair, after the guest has touched `bytes`.
    kBareTouch,  // By the bare pair, `bytes` of memory that both have mapped.
    kMemcpy,     // Of touched bytes, in the caller's process.
  };
  Task task = Task::kGuest;
  Op op = Op::kSmall;
  BarePair::Waits waits = BarePair::Waits::kAsleep;
  std::uint32_t count = 1;
  std::size_t bytes = 0;
  std::uint32_t samples = 1;
};

class LocalPair {
 public:
  // Before there are threads.
  LocalPair(Zygote& zygote, const LocalWorker::Options& options, Placement placement);
  LocalPair(const LocalPair&) = delete;
  LocalPair& operator=(const LocalPair&) = delete;
  LocalPair(LocalPair&&) = delete;
  LocalPair& operator=(LocalPair&&) = delete;
  ~LocalPair();

  struct Result {
    Samples samples;                 // How long it took.
    Samples hand_over;               // As the callee measured it, where there was one.
    std::uint64_t copied_bytes = 0;  // By the caller's worker.
  };
  // Ends the run if an answer is wrong.
  Result Run(const Order& order) {
    Begin(order);
    return End();
  }
  void Begin(const Order& order);
  Result End();
  // By the callee's worker since it started; a moment after a call that is over.
  [[nodiscard]] std::uint64_t CalleeCopiedBytes() const;

 private:
  struct Board;
  void RunCaller(Zygote& zygote, const LocalWorker::Options& options, UniqueFd socket);
  void RunCallee(Zygote& zygote, const LocalWorker::Options& options, UniqueFd socket);

  Board* board_;
  UniqueFd ours_;
  UniqueFd theirs_;
  BarePair bare_;
  std::unique_ptr<test::PeerProcess> callee_;
  std::unique_ptr<test::PeerProcess> caller_;
};

}  // namespace cwasi::bench
