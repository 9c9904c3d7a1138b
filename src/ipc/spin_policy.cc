// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "ipc/spin_policy.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace cwasi::ipc {

unsigned SpinPolicy::CpuCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails on machines with more CPUs than the set holds, where there are enough.
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return CPU_SETSIZE;
  return static_cast<unsigned>(CPU_COUNT(&set));
}

SpinPolicy::SpinPolicy(unsigned cpus)
    : cpus_(cpus), loadavg_(::open("/proc/loadavg", O_RDONLY | O_CLOEXEC)) {}

MonotonicNs SpinPolicy::Limit(MonotonicNs now) {
  if (mode_ != Mode::kAdaptive) return mode_ == Mode::kAlways ? kLimitNs : 0;
  // On one CPU who is waited for cannot run while this thread does.
  if (cpus_ < 2 || score_ < kSpinScore) return 0;
  if (now - sampled_at_ >= kSampleEveryNs) Sample(now);
  // Half a task more than CPUs: a mean over samples is never exact.
  return runnable_eighths_ > 8 * cpus_ + 4 ? 0 : kLimitNs;
}

void SpinPolicy::Waited(MonotonicNs duration) {
  score_ = std::clamp(score_ + (duration <= kLimitNs ? 1 : -2), 0, kMaxScore);
}

void SpinPolicy::SawRunnable(unsigned tasks) {
  runnable_eighths_ = runnable_eighths_ == 0 ? 8 * tasks : runnable_eighths_ * 7 / 8 + tasks;
}

void SpinPolicy::Sample(MonotonicNs now) {
  sampled_at_ = now;
  if (!loadavg_.IsOpen()) return;
  // "0.20 0.18 0.12 1/80 11206": the fourth begins with the runnable tasks (proc(5)).
  std::array<char, 64> text{};
  const ssize_t got = ::pread(loadavg_.Get(), text.data(), text.size(), 0);
  if (got <= 0) return;
  const std::string_view line(text.data(), static_cast<std::size_t>(got));
  const std::size_t slash = line.find('/');
  if (slash == std::string_view::npos) return;
  const std::size_t space = line.rfind(' ', slash);
  if (space == std::string_view::npos) return;
  unsigned tasks = 0;
  if (std::from_chars(line.data() + space + 1, line.data() + slash, tasks).ec == std::errc{}) {
    SawRunnable(tasks);
  }
}

}  // namespace cwasi::ipc
