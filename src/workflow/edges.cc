// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/edges.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace cwasi::workflow {
namespace {

std::vector<ipc::HistogramBucket> Merged(const std::vector<ipc::HistogramBucket>& a,
                                         const std::vector<ipc::HistogramBucket>& b) {
  std::map<std::uint16_t, std::uint64_t> counts;
  for (const auto* part : {&a, &b})
    for (const ipc::HistogramBucket& bucket : *part) counts[bucket.index] += bucket.count;
  std::vector<ipc::HistogramBucket> merged;
  merged.reserve(counts.size());
  for (const auto& [index, count] : counts) merged.push_back({.index = index, .count = count});
  return merged;
}

}  // namespace

void EdgeSum::Add(const std::vector<ipc::EdgeReport>& edges) {
  for (const ipc::EdgeReport& edge : edges) {
    auto [it, is_new] = edges_.try_emplace(Name(edge.caller, edge.callee, edge.mode), edge);
    if (is_new) continue;
    ipc::EdgeReport& sum = it->second;
    sum.calls += edge.calls;
    sum.payload_bytes += edge.payload_bytes;
    sum.copies += edge.copies;
    sum.copied_bytes += edge.copied_bytes;
    sum.moved += edge.moved;
    sum.hand_over = Merged(sum.hand_over, edge.hand_over);
  }
}

std::vector<ipc::EdgeReport> EdgeSum::Sorted(const std::vector<std::string_view>& steps) const {
  std::map<std::string_view, std::size_t> order;
  for (std::size_t i = 0; i < steps.size(); ++i) order[steps[i]] = i;
  const auto place = [&](const ipc::EdgeReport& edge) {
    const auto it = order.find(edge.callee);
    return it == order.end() ? order.size() : it->second;
  };
  // By caller, callee, mode they are already; equal keys stay in the order of their insertion.
  std::multimap<std::size_t, const ipc::EdgeReport*> by_place;
  for (const auto& [name, edge] : edges_) by_place.emplace(place(edge), &edge);
  std::vector<ipc::EdgeReport> sorted;
  sorted.reserve(by_place.size());
  for (const auto& [step, edge] : by_place) sorted.push_back(*edge);
  return sorted;
}

}  // namespace cwasi::workflow
