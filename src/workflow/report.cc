// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The tables that end a run, as text.

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/duration_histogram.h"
#include "workflow/run.h"

namespace cwasi::workflow {
namespace {

std::string Number(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string Bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 4> kUnits = {"B", "KiB", "MiB", "GiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return Number(value, unit == 0 || value >= 100 ? 0 : 1) + " " + kUnits[unit];
}

std::string Duration(std::chrono::nanoseconds duration) {
  const auto ns = static_cast<double>(duration.count());
  if (ns < 1e3) return Number(ns, 0) + " ns";
  if (ns < 1e6) return Number(ns / 1e3, 1) + " us";
  if (ns < 1e9) return Number(ns / 1e6, 1) + " ms";
  return Number(ns / 1e9, 2) + " s";
}

// Columns as wide as their widest cell; the first `text_columns` are aligned to the left.
class Table {
 public:
  Table(std::size_t text_columns, std::vector<std::string> head) : text_columns_(text_columns) {
    rows_.push_back(std::move(head));
  }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  [[nodiscard]] std::string Text() const {
    std::vector<std::size_t> widths(rows_[0].size());
    for (const auto& row : rows_)
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    std::string text;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        const std::string pad(widths[i] - row[i].size(), ' ');
        line += (i == 0 ? "" : "  ") + (i < text_columns_ ? row[i] + pad : pad + row[i]);
      }
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
    return text;
  }

 private:
  std::size_t text_columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace

std::string FormatReport(const RunReport& report) {
  Table steps(2, {"step", "function", "calls", "time", "per call", "longest", "result"});
  for (const StepReport& s : report.steps) {
    const auto mean = s.calls == 0 ? std::chrono::nanoseconds(0)
                                   : s.duration / static_cast<std::int64_t>(s.calls);
    steps.Add({s.name, s.function, std::to_string(s.calls), Duration(s.duration), Duration(mean),
               Duration(s.longest), Bytes(s.result_bytes)});
  }
  Table edges(
      3, {"from", "to", "mode", "calls", "bytes", "hand-over", "p99", "moved", "copies", "copied"});
  for (const auto& e : report.edges) {
    DurationHistogram hand_over;
    for (const auto& bucket : e.hand_over) hand_over.AddBucket(bucket.index, bucket.count);
    const auto quantile = [&hand_over](double q) {
      return hand_over.Total() == 0 ? "-"
                                    : Duration(std::chrono::nanoseconds(hand_over.Quantile(q)));
    };
    edges.Add({e.caller.empty() ? "(workflow)" : e.caller, e.callee, std::string(Name(e.mode)),
               std::to_string(e.calls), Bytes(e.payload_bytes), quantile(0.5), quantile(0.99),
               std::to_string(e.moved), std::to_string(e.copies), Bytes(e.copied_bytes)});
  }
  std::string text = steps.Text() + "\n" + edges.Text() + "\n";
  if (report.policy == ipc::PayloadPolicy::kCopy) {
    text += "payloads are copied, as asked for\n";
  } else if (report.workers != 0 && !report.worker.swap_available) {
    text +=
        "payloads are copied: this machine cannot move them (" + report.worker.swap_reason + ")\n";
  } else if (report.workers != 0) {
    text += "payloads of " + Bytes(report.worker.crossover_bytes) +
            " and more move, shorter ones are copied (measured at start)\n";
  }
  text += "read " + Bytes(report.bytes_read) + " from files; payload memory at most " +
          Bytes(report.payload.peak_bytes) + "; " + Duration(report.duration) + " in all\n";
  std::chrono::nanoseconds calls{};
  for (const StepReport& s : report.steps) calls += s.duration;
  const auto wall = static_cast<double>(std::max<std::int64_t>(report.duration.count(), 1));
  text += std::to_string(report.workers) + (report.workers == 1 ? " worker" : " workers") +
          "; calls of " + Duration(calls) + " together, " +
          Number(static_cast<double>(calls.count()) / wall, 1) + " at once\n";
  if (report.workers != 0) text += report.sandbox + "\n";
  return text;
}

}  // namespace cwasi::workflow
