// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/deadline_ticker.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <string_view>
#include <utility>

namespace cwasi::worker {
namespace {

constexpr MonotonicNs kRepeatNs = 1'000'000;
// So long a guest has run past its deadline, nearly the grace, before it overruns. To stop takes
// 0.1 ms, at most 8 in 1,400 time-outs on a crowded machine, more than 20 once; beside real-time
// tasks threads were seen to get 2 ms of 46.
constexpr MonotonicNs kMinRunNs = 40'000'000;
// One in a host call has so many interrupts, which is a second unless the whole process was
// stopped.
constexpr int kMostInterrupts = 1000;

void EndOverrunProcess() {
  constexpr std::string_view kText =
      "cwasi: a guest did not stop at its deadline; ending this worker\n";
  [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, kText.data(), kText.size());
  ::_exit(kOverrunExitCode);
}

}  // namespace

DeadlineTicker::DeadlineTicker(Actions actions) : actions_(std::move(actions)) {
  if (!actions_.overrun) actions_.overrun = EndOverrunProcess;
  thread_ = std::thread([this] { Run(); });
}

DeadlineTicker::~DeadlineTicker() {
  stop_ = true;
  Wake();
  thread_.join();
}

void DeadlineTicker::Wake() noexcept {
  wakes_.fetch_add(1, std::memory_order_seq_cst);
  ::syscall(SYS_futex, &wakes_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void DeadlineTicker::SleepUntil(MonotonicNs until, MonotonicNs seen) noexcept {
  const std::uint32_t wakes = wakes_.load(std::memory_order_seq_cst);
  wake_at_.store(until, std::memory_order_seq_cst);
  // Set may have stored an earlier deadline before it could see wake_at_.
  if (deadline_.load(std::memory_order_seq_cst) != seen || stop_.load()) return;
  timespec at{};
  at.tv_sec = until / 1'000'000'000;
  at.tv_nsec = until % 1'000'000'000;
  // Absolute CLOCK_MONOTONIC; returns at once if Wake came since `wakes` was read.
  ::syscall(SYS_futex, &wakes_, FUTEX_WAIT_BITSET_PRIVATE, wakes,
            until == kNoDeadline ? nullptr : &at, nullptr, FUTEX_BITSET_MATCH_ANY);
}

void DeadlineTicker::Interrupt(MonotonicNs deadline) {
  interrupting_.store(true, std::memory_order_seq_cst);
  // The call may have ended since, and a caller with time left may be running.
  if (deadline_.load(std::memory_order_seq_cst) == deadline) {
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    actions_.interrupt();
  }
  interrupting_.store(false, std::memory_order_seq_cst);
}

MonotonicNs DeadlineTicker::GuestRan() const noexcept {
  timespec ran{};
  // Fails if the thread has ended; then it does not run.
  if (::clock_gettime(guest_clock_.load(std::memory_order_relaxed), &ran) != 0) return 0;
  return MonotonicNs{ran.tv_sec} * 1'000'000'000 + ran.tv_nsec;
}

void DeadlineTicker::Run() {
  MonotonicNs interrupted = kNoDeadline;
  int interrupts = 0;      // For that deadline.
  MonotonicNs ran_at = 0;  // What the thread had run when it was last seen to enter a guest.
  std::uint32_t crossings = 0;
  while (!stop_.load()) {
    const MonotonicNs deadline = deadline_.load(std::memory_order_seq_cst);
    const MonotonicNs now = Now();
    if (now < deadline) {
      interrupts = 0;
      SleepUntil(deadline, deadline);
      continue;
    }
    if (std::exchange(interrupted, deadline) != deadline) interrupts = 0;
    const std::uint32_t before = std::exchange(crossings, crossings_.load());
    const bool in_guest = crossings % 2 == 1;
    if (interrupts++ == 0 || crossings != before || !in_guest) ran_at = GuestRan();
    Interrupt(deadline);
    const bool ran = GuestRan() - ran_at > kMinRunNs;
    if (now - deadline > std::chrono::nanoseconds(kGrace).count() &&
        (ran || interrupts > kMostInterrupts))
      actions_.overrun();
    SleepUntil(now + kRepeatNs, deadline);
  }
}

}  // namespace cwasi::worker
