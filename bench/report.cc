// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "bench/report.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <thread>
#include <utility>

#include "base/clock.h"

namespace cwasi::bench {
namespace {

std::string Number(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string Duration(double ns) {
  if (std::abs(ns) < 1e3) return Number(ns, 1) + " ns";
  if (std::abs(ns) < 1e6) return Number(ns / 1e3, 2) + " us";
  return Number(ns / 1e6, 2) + " ms";
}

}  // namespace

double Samples::Quantile(double q) const {
  auto sorted = ns;
  std::sort(sorted.begin(), sorted.end());
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
}

double Time(const std::function<void()>& body) {
  const MonotonicNs start = Now();
  body();
  return static_cast<double>(Now() - start);
}

std::string Report::Machine() {
  utsname name{};
  ::uname(&name);
  std::string cpu = "unknown CPU";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) {
      cpu = line.substr(line.find(':') + 2);
      break;
    }
  std::array<char, 64> date{};
  const std::time_t now = std::time(nullptr);
  tm utc{};
  std::strftime(date.data(), date.size(), "%F", ::gmtime_r(&now, &utc));
  return cpu + ", " + std::to_string(std::thread::hardware_concurrency()) + " CPUs, Linux " +
         name.release + ", " + date.data();
}

std::string Report::Size(std::size_t bytes) {
  if (bytes == 0) return "";
  if (bytes < kKiB) return std::to_string(bytes) + " B";
  if (bytes < kMiB) return std::to_string(bytes / kKiB) + " KiB";
  return std::to_string(bytes / kMiB) + " MiB";
}

void Report::Add(Row row) {
  const double median = row.samples.Median();
  std::string remarks;
  for (const Row& other : rows_) {
    if (other.name != row.baseline || other.bytes != row.bytes) continue;
    const double ratio = median / other.samples.Median();
    remarks += "  " + Number(ratio, 3) + " x " + other.name;
    if (row.target_ratio != 0)
      remarks += "  (target " + Number(row.target_ratio, 2) +
                 (ratio <= row.target_ratio ? " x: met)" : " x: MISSED)");
    if (row.target_at_least != 0)
      remarks += "  (target at least " + Number(row.target_at_least, 1) +
                 (ratio >= row.target_at_least ? " x: met)" : " x: MISSED)");
  }
  if (row.target_ns != 0)
    remarks +=
        "  (target " + Duration(row.target_ns) + (median <= row.target_ns ? ": met)" : ": MISSED)");
  std::printf("%-42s %10s  %12s  p99 %12s  n %5zu%s\n", row.name.c_str(), Size(row.bytes).c_str(),
              Duration(median).c_str(), Duration(row.samples.Quantile(0.99)).c_str(),
              row.samples.ns.size(), remarks.c_str());
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

bool Report::WriteJson(const std::string& path, std::string_view machine) const {
  std::ofstream out(path);
  out << "{\"machine\": \"" << machine << "\", \"rows\": [";
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const Row& r = rows_[i];
    out << (i == 0 ? "\n" : ",\n") << "  {\"name\": \"" << r.name << "\", \"bytes\": " << r.bytes
        << ", \"n\": " << r.samples.ns.size() << ", \"median_ns\": " << r.samples.Median()
        << ", \"p99_ns\": " << r.samples.Quantile(0.99) << ", \"baseline\": \"" << r.baseline
        << "\"}";
  }
  out << "\n]}\n";
  return static_cast<bool>(out.flush());
}

}  // namespace cwasi::bench
