// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How long to wait before a worker that ended by itself is started again: twice as long each time,
// up to a bound, and not for ever.

#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace cwasi::host {

class Backoff {
 public:
  static constexpr std::chrono::milliseconds kFirst{10};
  static constexpr std::chrono::milliseconds kLongest{1000};
  static constexpr int kTries = 10;

  // After a failure. Empty: kTries in a row have failed.
  std::optional<std::chrono::milliseconds> Next() {
    if (failures_ == kTries) return std::nullopt;
    const auto wait = std::min(kFirst * (1 << failures_), kLongest);
    ++failures_;
    return wait;
  }
  // It did some work: the next failure is a first one.
  void Succeeded() { failures_ = 0; }

 private:
  int failures_ = 0;
};

}  // namespace cwasi::host
