// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What two processes pay to wake each other when there is nothing else: a word each way, by futexes
// (the one sleeps while the other runs) or by spinning.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "bench/report.h"
#include "test/support/peer_process.h"

namespace cwasi::bench {

// Where a pair of processes runs: the scheduler puts two that wake each other now on one CPU, now
// on two, and that alone makes a wake-up five times as long.
enum class Placement : std::uint8_t { kAnywhere, kOneCpu, kTwoCpus };
enum class Side : std::uint8_t { kCaller, kCallee };
// This process, and what it forks. Does nothing where there are not enough CPUs.
void Place(Side side, Placement placement);

class BarePair {
 public:
  // Forks the other process, which dies with this object. Before there are threads.
  explicit BarePair(Placement placement);
  BarePair(const BarePair&) = delete;
  BarePair& operator=(const BarePair&) = delete;
  BarePair(BarePair&&) = delete;
  BarePair& operator=(BarePair&&) = delete;
  ~BarePair();

  // The rest by any one process at a time that was forked after.
  enum class Waits : std::uint8_t { kAsleep, kSpinning };
  // The mean of `count` round trips.
  double RoundTrip(Waits waits, std::uint32_t count);
  // From before the word is changed to the other's first instruction that has seen it, in
  // nanoseconds. While it is made ready the other sleeps or spins.
  double OneWay(Waits waits);
  // `bytes` of memory that both have mapped written here and read there: touching by two CPUs, with
  // the sleeping other's wake-up and no hand-over.
  double Touch(std::size_t bytes);

 private:
  struct Board;
  void RunOther();
  void Rouse();
  void Turn(Waits waits);

  Board* board_;
  std::uint64_t* words_;  // Mapped by both; a page costs memory once it is touched.
  std::unique_ptr<test::PeerProcess> other_;
  std::uint64_t seed_ = 0;
};

}  // namespace cwasi::bench
