// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// DeadlineTicker: the thread that notices that a guest has run out of time. It sleeps until the
// deadline it knows of, so that it costs nothing while guests keep theirs: another thread that is
// awake makes every move of pages send interrupts between CPUs (design 1, rule 1).

#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <thread>

#include "base/clock.h"

namespace cwasi::worker {

// A worker that is still in a guest this long after the deadline is ended: bulk memory operations
// look at no epoch (memory.fill of 1 GiB overran by 2.4 s). The promise is 60 ms, and the kernel
// takes about 14 to free a large guest. Only if its thread has run in that guest meanwhile: one
// that was stopped, or got no processor, has had no chance to stop, and a host call, which is our
// code and bounded by its payload, ends by itself (on memory that its hypervisor has yet to
// provide, a copy of 4 MiB took 12 to 21 ms of processor time). That has a second.
inline constexpr std::chrono::milliseconds kGrace{45};
inline constexpr int kOverrunExitCode = 71;

class DeadlineTicker {
 public:
  struct Actions {
    std::function<void()>
        interrupt;                  // Makes the guest look at the time; repeated every millisecond.
    std::function<void()> overrun;  // See kGrace; by default ends the process.
  };
  explicit DeadlineTicker(Actions actions);
  DeadlineTicker(const DeadlineTicker&) = delete;
  DeadlineTicker& operator=(const DeadlineTicker&) = delete;
  DeadlineTicker(DeadlineTicker&&) = delete;
  DeadlineTicker& operator=(DeadlineTicker&&) = delete;
  ~DeadlineTicker();

  // The deadline of the innermost call under way; kNoDeadline when there is none. After it returns
  // no interrupt can come for an earlier deadline. Thread: the worker's guest thread. A system call
  // only if it comes before all the ticker waits for.
  void Set(MonotonicNs deadline) noexcept {
    clockid_t clock = 0;
    // Not a system call.
    if (::pthread_getcpuclockid(::pthread_self(), &clock) == 0)
      guest_clock_.store(clock, std::memory_order_relaxed);
    // Pairs with the ticker's stores of wake_at_ and interrupting_ before its load of deadline_:
    // one of the two threads sees the other.
    deadline_.store(deadline, std::memory_order_seq_cst);
    if (deadline < wake_at_.load(std::memory_order_seq_cst)) Wake();
    while (interrupting_.load(std::memory_order_seq_cst)) std::this_thread::yield();
  }
  // The guest thread goes from the host into a guest or the other way; it begins in the host.
  void CrossBoundary() noexcept {
    crossings_.store(crossings_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  // Changes with each interrupt: whoever saw another number must set its engine deadline anew.
  [[nodiscard]] std::uint32_t Interrupts() const noexcept {
    return interrupts_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] MonotonicNs Get() const noexcept {
    return deadline_.load(std::memory_order_relaxed);
  }

 private:
  void Run();
  void Wake() noexcept;
  void Interrupt(MonotonicNs deadline);
  void SleepUntil(MonotonicNs until, MonotonicNs seen) noexcept;
  // The processor time of the thread that called Set last.
  [[nodiscard]] MonotonicNs GuestRan() const noexcept;

  Actions actions_;
  std::atomic<clockid_t> guest_clock_ = 0;
  std::atomic<std::uint32_t> crossings_ = 0;  // Odd: in a guest.
  std::atomic<MonotonicNs> deadline_ = kNoDeadline;
  std::atomic<MonotonicNs> wake_at_ = kNoDeadline;
  std::atomic<std::uint32_t> wakes_ = 0;  // The futex.
  std::atomic<std::uint32_t> interrupts_ = 0;
  std::atomic<bool> interrupting_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;  // Last: it uses the rest.
};

}  // namespace cwasi::worker
