// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Monotonic time, two ways: exact (a vDSO call, about 25 ns here) for control, and the CPU's
// time-stamp counter (about 8 ns) for the path of a call. Both count nanoseconds on the same scale.
//
// Source: Intel SDM vol. 3B 18.17 (invariant TSC). Where CPUID leaf 8000_0007h does not promise it,
// FastNow is Now.

#pragma once

#include <chrono>
#include <cstdint>

namespace cwasi {

// Nanoseconds of CLOCK_MONOTONIC: since boot, not while suspended.
using MonotonicNs = std::int64_t;

inline constexpr MonotonicNs kNoDeadline = INT64_MAX;

// Thread: any.
MonotonicNs Now() noexcept;

// Measures the counter on first use (5 ms), and looks at Now() every 20 ms (TickClock): close
// to it in every process, and so comparable; never back within a thread. Thread: any.
MonotonicNs FastNow() noexcept;

// Saturates at kNoDeadline.
MonotonicNs DeadlineAfter(MonotonicNs now, std::chrono::nanoseconds timeout) noexcept;

}  // namespace cwasi
