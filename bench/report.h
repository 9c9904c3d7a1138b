// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Rows of a benchmark: the median and p99 of n samples, as a ratio to another row of the same run,
// and the target if there is one.

#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace cwasi::bench {

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = kKiB * 1024;

struct Samples {
  std::vector<double> ns;
  // 0 < q < 1. At least one sample.
  [[nodiscard]] double Quantile(double q) const;
  [[nodiscard]] double Median() const { return Quantile(0.5); }
  Samples& operator+=(const Samples& more) {
    ns.insert(ns.end(), more.ns.begin(), more.ns.end());
    return *this;
  }
};

struct Row {
  std::string name;
  std::size_t bytes = 0;
  Samples samples = {};
  std::string baseline = {};  // Another row's name; the ratio of medians is printed.
  double target_ns = 0;       // 0: none.
  // Of the ratio to the baseline: at most, at least. 0: none.
  double target_ratio = 0;
  double target_at_least = 0;
};

// How long it took, in nanoseconds.
double Time(const std::function<void()>& body);

// Prints each row as it comes.
class Report {
 public:
  // "AMD EPYC, 2 CPUs, Linux 6.18, 2026-11-21"
  static std::string Machine();
  void Add(Row row);
  // False if the file cannot be written.
  [[nodiscard]] bool WriteJson(const std::string& path, std::string_view machine) const;
  static std::string Size(std::size_t bytes);

 private:
  std::vector<Row> rows_;
};

}  // namespace cwasi::bench
