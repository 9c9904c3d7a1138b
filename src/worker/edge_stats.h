// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What was measured on each edge of a worker: who called whom, how many bytes, copies, and how long
// the hand-over took.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/call_error.h"
#include "base/duration_histogram.h"
#include "buf/view_history.h"

namespace cwasi::worker {

struct EdgeStats {
  std::uint64_t calls = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t copies = 0;
  std::uint64_t copied_bytes = 0;
  std::uint64_t moved = 0;
  DurationHistogram hand_over;
  buf::ViewHistory views;  // Of payloads that others take, too.
};

struct EdgeName {
  std::string caller;
  std::string callee;
  CallMode mode = CallMode::kEmbedded;
  auto operator<=>(const EdgeName&) const = default;
};

// Edges never go away, so pointers to their stats stay good. Thread: the worker's guest thread.
class EdgeTable {
 public:
  EdgeStats& Of(const EdgeName& name) {
    auto& edge = edges_[name];
    if (edge == nullptr) edge = std::make_unique<EdgeStats>();
    return *edge;
  }
  [[nodiscard]] const std::map<EdgeName, std::unique_ptr<EdgeStats>>& All() const { return edges_; }

 private:
  std::map<EdgeName, std::unique_ptr<EdgeStats>> edges_;
};

}  // namespace cwasi::worker
