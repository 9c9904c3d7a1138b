// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/clock.h"

#include <cpuid.h>
#include <x86intrin.h>

#include <ctime>

namespace cwasi {
namespace {

__extension__ using Uint128 = unsigned __int128;

// ns = base_ns + (tsc - base_tsc) * mult / 2^32
struct Scale {
  bool usable = false;
  std::uint64_t base_tsc = 0;
  MonotonicNs base_ns = 0;
  std::uint64_t mult = 0;
};

bool HasInvariantTsc() noexcept {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(0x80000007U, &a, &b, &c, &d) != 0 && (d & (1U << 8U)) != 0;
}

Scale Calibrate() noexcept {
  Scale scale;
  if (!HasInvariantTsc()) return scale;
  const MonotonicNs ns0 = Now();
  const std::uint64_t tsc0 = __rdtsc();
  MonotonicNs ns1 = ns0;
  while (ns1 - ns0 < 20'000'000) ns1 = Now();
  const std::uint64_t tsc1 = __rdtsc();
  if (tsc1 <= tsc0) return scale;
  scale.mult = static_cast<std::uint64_t>((static_cast<Uint128>(ns1 - ns0) << 32U) / (tsc1 - tsc0));
  scale.base_tsc = tsc1;
  scale.base_ns = ns1;
  scale.usable = true;
  return scale;
}

}  // namespace

MonotonicNs Now() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<MonotonicNs>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

MonotonicNs FastNow() noexcept {
  static const Scale scale = Calibrate();
  if (!scale.usable) return Now();
  const std::uint64_t ticks = __rdtsc() - scale.base_tsc;
  return scale.base_ns +
         static_cast<MonotonicNs>((static_cast<Uint128>(ticks) * scale.mult) >> 32U);
}

MonotonicNs DeadlineAfter(MonotonicNs now, std::chrono::nanoseconds timeout) noexcept {
  MonotonicNs deadline = 0;
  return __builtin_add_overflow(now, timeout.count(), &deadline) ? kNoDeadline : deadline;
}

}  // namespace cwasi
