// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// TickClock: an exact clock that is slow to ask, continued by a counter that is not. It looks at
// the exact clock again every kSpanNs, so it follows what that clock does: while the kernel slews
// it, by 500 ppm at most, it is off by up to 10 us, else by much less than one.
//
// A thread that loses its CPU between the two readings would pair what does not belong together;
// so a pair counts only if the counter moved little around it.

#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace cwasi {

// Source: `static std::uint64_t Ticks()`, never back; `static MonotonicNs Exact()`.
template <class Source>
class TickClock {
 public:
  static constexpr MonotonicNs kMeasuringNs = 5'000'000;
  static constexpr MonotonicNs kSpanNs = 20'000'000;

  struct Rate {
    std::uint64_t ns_per_tick_32 = 0;  // Nanoseconds a tick, times 2^32. 0: do not use it.
    std::uint64_t span_ticks = 0;      // In kSpanNs.
    std::uint64_t close_ticks = 0;     // Around a pair that counts.
  };
  // Takes kMeasuringNs.
  static Rate Measure() {
    const Pair first = Closest();
    Pair last = first;
    while (last.ns - first.ns < kMeasuringNs) last.ns = Source::Exact();
    last = Closest();
    const std::uint64_t ticks = last.ticks - first.ticks;
    if (last.ticks <= first.ticks || last.ns <= first.ns) return {};
    const auto ns = static_cast<std::uint64_t>(last.ns - first.ns);
    return {.ns_per_tick_32 = static_cast<std::uint64_t>((Wide{ns} << 32U) / ticks),
            .span_ticks = static_cast<std::uint64_t>(Wide{kSpanNs} * ticks / ns),
            .close_ticks = 2 * std::max(first.width, last.width)};
  }

  // Never less than before. Thread: one.
  MonotonicNs Now(const Rate& rate) {
    const std::uint64_t ticks = Source::Ticks() - anchor_.ticks;
    if (ticks >= rate.span_ticks) [[unlikely]]
      return LookAgain(rate);
    return std::max(At(rate, ticks), floor_);
  }

 private:
  __extension__ using Wide = unsigned __int128;
  struct Pair {
    std::uint64_t ticks = 0;
    MonotonicNs ns = 0;
    std::uint64_t width = 0;  // Between the readings of the counter before and after.
  };
  static Pair Look() {
    const std::uint64_t before = Source::Ticks();
    const MonotonicNs ns = Source::Exact();
    const std::uint64_t width = Source::Ticks() - before;
    return {.ticks = before + width / 2, .ns = ns, .width = width};
  }
  static Pair Closest() {
    Pair closest = Look();
    for (int i = 0; i < 15; ++i) {
      const Pair next = Look();
      if (next.width < closest.width) closest = next;
    }
    return closest;
  }
  [[nodiscard]] MonotonicNs At(const Rate& rate, std::uint64_t ticks) const {
    return anchor_.ns + static_cast<MonotonicNs>((Wide{ticks} * rate.ns_per_tick_32) >> 32U);
  }
  MonotonicNs LookAgain(const Rate& rate) {
    // The most that may have been said. A counter that ran fast stands still until the exact clock
    // has caught up.
    floor_ = std::max(floor_, At(rate, std::min(Source::Ticks() - anchor_.ticks, rate.span_ticks)));
    Pair now = Look();
    for (int i = 0; i < 3 && now.width > rate.close_ticks; ++i) now = Look();
    // Interrupted each time: what the exact clock said is good for now, and the next call looks
    // again.
    if (now.width <= rate.close_ticks) anchor_ = now;
    return floor_ = std::max(floor_, now.ns);
  }

  Pair anchor_ = {};
  MonotonicNs floor_ = 0;
};

}  // namespace cwasi
