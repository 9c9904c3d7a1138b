// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/clock.h"

#include <cpuid.h>
#include <x86intrin.h>

#include <ctime>

#include "base/tick_clock.h"

namespace cwasi {
namespace {

bool HasInvariantTsc() noexcept {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(0x80000007U, &a, &b, &c, &d) != 0 && (d & (1U << 8U)) != 0;
}

struct Tsc {
  static std::uint64_t Ticks() noexcept { return __rdtsc(); }
  static MonotonicNs Exact() noexcept { return Now(); }
};
using TscClock = TickClock<Tsc>;

thread_local constinit TscClock clock_of_thread;

}  // namespace

MonotonicNs Now() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<MonotonicNs>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

MonotonicNs FastNow() noexcept {
  static const TscClock::Rate rate = HasInvariantTsc() ? TscClock::Measure() : TscClock::Rate{};
  if (rate.ns_per_tick_32 == 0) return Now();
  return clock_of_thread.Now(rate);
}

MonotonicNs DeadlineAfter(MonotonicNs now, std::chrono::nanoseconds timeout) noexcept {
  MonotonicNs deadline = 0;
  return __builtin_add_overflow(now, timeout.count(), &deadline) ? kNoDeadline : deadline;
}

}  // namespace cwasi
