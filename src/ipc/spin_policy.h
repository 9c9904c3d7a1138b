// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// SpinPolicy: whether the next wait should burn the CPU for some microseconds before it sleeps.
//
// Spinning as long as a sleep and its wake-up cost loses at most half (Karlin et al., "Empirical
// studies of competitive spinning", SOSP 1991). It pays where answers come sooner than that, and
// hurts where somebody else needs the CPU, perhaps the one that is to answer.
//
// Thread: the one that waits.

#pragma once

#include <chrono>
#include <cstdint>
#include <utility>

#include "base/clock.h"
#include "base/unique_fd.h"

namespace cwasi::ipc {

class SpinPolicy {
 public:
  // About what a sleep costs whose CPU has gone idle meanwhile (docs/adr/0006-channel.md).
  static constexpr MonotonicNs kLimitNs = 50'000;
  static constexpr MonotonicNs kSampleEveryNs = 2'000'000;

  enum class Mode : std::uint8_t { kAdaptive, kNever, kAlways };

  // `cpus`: that this thread may use. Looks at /proc/loadavg, if it can be opened.
  explicit SpinPolicy(unsigned cpus = CpuCount());
  // /proc/loadavg, opened by somebody else: in a sandbox there is no /proc.
  void SetLoadavg(UniqueFd loadavg) { loadavg_ = std::move(loadavg); }

  // How long the wait that begins at `now` may spin; 0: not at all.
  [[nodiscard]] MonotonicNs Limit(MonotonicNs now);
  // How long a wait took in all, spun or slept: what was short may spin next time.
  void Waited(MonotonicNs duration);
  // Tasks that run or want to, this one included. Limit() asks the kernel; tests tell.
  void SawRunnable(unsigned tasks);

  void SetMode(Mode mode) { mode_ = mode; }
  static unsigned CpuCount();

 private:
  // Three long waits in a row end the spinning, as many short ones bring it back.
  static constexpr int kMaxScore = 8;
  static constexpr int kSpinScore = 4;

  void Sample(MonotonicNs now);

  Mode mode_ = Mode::kAdaptive;
  unsigned cpus_;
  int score_ = kMaxScore;
  unsigned runnable_eighths_ = 0;  // Running mean of what SawRunnable said, times 8.
  MonotonicNs sampled_at_ = 0;
  UniqueFd loadavg_;
};

}  // namespace cwasi::ipc
