// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a hand-over between two functions of one worker costs, beside memcpy and the touching of the
// same bytes in the same run. Answers are checked before any time counts.
//
//   transfer_bench [--quick] [--only calls|instances|payloads] [--json FILE]
//
// Rows: embedded round trips, 8 B to 64 KiB; hand-over and end to end, 64 KiB to 500 MiB, moved and
// copied, cold and warm; fresh and reused instances.
// Every figure is the median and p99 of n samples; a round trip's sample is the mean of a batch.

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "buf/units.h"
#include "worker/worker.h"

namespace cwasi::bench {
namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = kKiB * 1024;

enum class Op : std::uint32_t { kSmall, kMoved, kCopied, kTouch, kGiven };

struct Samples {
  std::vector<double> ns;
  [[nodiscard]] double Quantile(double q) const {
    auto sorted = ns;
    std::sort(sorted.begin(), sorted.end());
    return sorted[std::min(sorted.size() - 1,
                           static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
  }
  [[nodiscard]] double Median() const { return Quantile(0.5); }
};

struct Row {
  std::string name;
  std::size_t bytes = 0;
  Samples samples = {};
  std::string baseline = {};  // Another row's name; the ratio of medians is printed.
  double target_ns = 0;       // 0: none.
};

template <class T>
T Expect(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "transfer_bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  return std::move(*result);
}

class Bench {
 public:
  explicit Bench(buf::MovePolicy policy) {
    worker::Worker::Options options;
    options.payloads.policy = policy;
    worker_ = Expect(worker::Worker::Create(options));
    Load("sum", {});
    Load("first", {});
    driver_ = Load("driver", {});
  }

  std::uint32_t Load(const std::string& guest, worker::FunctionSpec spec,
                     const std::string& name = "") {
    const auto path = std::filesystem::path(CWASI_GUEST_DIR) / (guest + ".wasm");
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> wasm((std::istreambuf_iterator<char>(file)), {});
    const auto compiled = Expect(worker_->Engine().Compile(std::as_bytes(std::span(wasm)), guest));
    std::string temporary =
        (std::filesystem::temp_directory_path() / "cwasi-bench-XXXXXX").string();
    const int fd = ::mkstemp(temporary.data());
    CHECK(::write(fd, compiled.data(), compiled.size()) == static_cast<ssize_t>(compiled.size()));
    ::close(fd);
    spec.name = name.empty() ? guest : name;
    spec.embed = worker::Embed::kAllow;
    spec.timeout = std::chrono::minutes(5);
    const auto id = Expect(worker_->Load(spec, temporary));
    std::filesystem::remove(temporary);
    return id;
  }

  // The driver's checksum.
  std::uint64_t Drive(Op op, std::uint32_t count, std::size_t bytes, std::uint32_t seed) {
    const std::uint32_t words[] = {static_cast<std::uint32_t>(op), count,
                                   static_cast<std::uint32_t>(bytes), seed};
    return Call(driver_, std::as_bytes(std::span(words)));
  }
  std::uint64_t Call(std::uint32_t function, std::span<const std::byte> body) {
    worker::Request request{
        .id = 1, .step = "bench", .parts = {}, .metadata = {}, .timeout = std::chrono::minutes(5)};
    request.parts.push_back({.payload = buf::Payload({body.begin(), body.end()}),
                             .name = "",
                             .producer = "bench",
                             .given = {}});
    auto reply = worker_->Invoke(function, request);
    if (!reply) {
      std::fprintf(stderr, "transfer_bench: %s\n", Describe(reply.error()).c_str());
      std::exit(1);
    }
    std::uint64_t answer = 0;
    CHECK(reply->payload.Size() >= sizeof answer);
    std::memcpy(&answer, reply->payload.Bytes().data(), sizeof answer);
    return answer;
  }
  worker::Worker& Get() { return *worker_; }

 private:
  std::unique_ptr<worker::Worker> worker_;
  std::uint32_t driver_ = 0;
};

std::uint64_t SumOfWords(std::size_t bytes, std::uint64_t seed) {
  const std::uint64_t n = bytes / 8;
  return n * seed + n * (n - 1) / 2;
}

double Time(const std::function<void()>& body) {
  const MonotonicNs start = Now();
  body();
  return static_cast<double>(Now() - start);
}

class Report {
 public:
  void Add(Row row) {
    const double median = row.samples.Median();
    std::string ratio;
    for (const Row& other : rows_)
      if (other.name == row.baseline && other.bytes == row.bytes)
        ratio = "  " + Number(median / other.samples.Median(), 3) + " x " + other.name;
    std::printf("%-34s %10s  %12s  p99 %12s  n %5zu%s%s\n", row.name.c_str(),
                Size(row.bytes).c_str(), Text(median).c_str(),
                Text(row.samples.Quantile(0.99)).c_str(), row.samples.ns.size(), ratio.c_str(),
                row.target_ns == 0
                    ? ""
                    : (median <= row.target_ns ? "  (target " + Text(row.target_ns) + ": met)"
                                               : "  (target " + Text(row.target_ns) + ": MISSED)")
                          .c_str());
    std::fflush(stdout);
    rows_.push_back(std::move(row));
  }
  void WriteJson(const std::string& path, std::string_view machine) const {
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
  }
  static std::string Number(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
  }
  static std::string Text(double ns) {
    if (ns < 1e3) return Number(ns, 1) + " ns";
    if (ns < 1e6) return Number(ns / 1e3, 2) + " us";
    return Number(ns / 1e6, 2) + " ms";
  }
  static std::string Size(std::size_t bytes) {
    if (bytes == 0) return "";
    if (bytes < kKiB) return std::to_string(bytes) + " B";
    if (bytes < kMiB) return std::to_string(bytes / kKiB) + " KiB";
    return std::to_string(bytes / kMiB) + " MiB";
  }

 private:
  std::vector<Row> rows_;
};

void RoundTrips(Bench& bench, Report& report, int scale) {
  std::uint32_t seed = 1;
  for (const std::size_t bytes : {std::size_t{8}, std::size_t{64}, kKiB, 16 * kKiB, 64 * kKiB}) {
    const std::uint32_t batch = bytes > 4 * kKiB ? 1000 : 20'000;
    CHECK(bench.Drive(Op::kSmall, 3, bytes, 5) == 5 + 6 + 7);  // Only the first word is not zero.
    bench.Drive(Op::kSmall, batch, bytes, seed);
    Row row{.name = "embedded round trip", .bytes = bytes, .target_ns = bytes == 64 ? 60.0 : 0};
    for (int i = 0; i < 20 * scale; ++i)
      row.samples.ns.push_back(Time([&] { bench.Drive(Op::kSmall, batch, bytes, ++seed); }) /
                               batch);
    report.Add(std::move(row));
  }
}

void Payloads(Bench& bench, Report& report, int scale) {
  std::uint32_t seed = 1;
  for (const std::size_t bytes :
       {64 * kKiB, 256 * kKiB, kMiB, 2 * kMiB, 10 * kMiB, 100 * kMiB, 500 * kMiB}) {
    const int n = (bytes >= 100 * kMiB ? 10 : 50) * scale;
    const bool moves = bench.Get().Payloads().Moves(bytes);
    // memcpy of warm memory to warm memory.
    {
      std::vector<std::byte> from(bytes, std::byte{1});
      std::vector<std::byte> to(bytes, std::byte{2});
      Row row{.name = "memcpy", .bytes = bytes};
      for (int i = 0; i < n; ++i) {
        from[static_cast<std::size_t>(i)] = std::byte{3};
        row.samples.ns.push_back(Time([&] { std::memcpy(to.data(), from.data(), bytes); }));
        CHECK(to[static_cast<std::size_t>(i)] == std::byte{3});
      }
      report.Add(std::move(row));
    }
    // Cold: the first payload of this size in a fresh worker.
    {
      Row row{.name = "end to end, moved, cold", .bytes = bytes};
      for (int i = 0; i < 3; ++i) {
        Bench fresh(buf::MovePolicy::kAuto);
        row.samples.ns.push_back(
            Time([&] { CHECK(fresh.Drive(Op::kMoved, 1, bytes, 7) == SumOfWords(bytes, 7)); }));
      }
      report.Add(std::move(row));
    }
    Row touch{.name = "touching alone", .bytes = bytes};
    Row moved{.name = "end to end, moved", .bytes = bytes, .baseline = "touching alone"};
    Row copied{.name = "end to end, copied", .bytes = bytes, .baseline = "touching alone"};
    bench.Drive(Op::kTouch, 2, bytes, 1);
    bench.Drive(Op::kMoved, 2, bytes, 1);
    bench.Drive(Op::kCopied, 2, bytes, 1);
    auto& edge = bench.Get().Edges().Of({"driver", "sum"});
    edge.hand_over = {};
    for (int i = 0; i < n; ++i) {
      ++seed;
      touch.samples.ns.push_back(
          Time([&] { CHECK(bench.Drive(Op::kTouch, 1, bytes, seed) == SumOfWords(bytes, seed)); }));
      moved.samples.ns.push_back(
          Time([&] { CHECK(bench.Drive(Op::kMoved, 1, bytes, seed) == SumOfWords(bytes, seed)); }));
    }
    const worker::DurationHistogram of_moved = edge.hand_over;
    edge.hand_over = {};
    for (int i = 0; i < n; ++i) {
      ++seed;
      copied.samples.ns.push_back(Time(
          [&] { CHECK(bench.Drive(Op::kCopied, 1, bytes, seed) == SumOfWords(bytes, seed)); }));
    }
    const worker::DurationHistogram of_copied = edge.hand_over;
    report.Add(std::move(touch));
    report.Add(std::move(moved));
    report.Add(std::move(copied));
    // The host's own measurement; buckets are a sixteenth wide, so the figures are upper ends.
    const auto add = [&](const char* name, const worker::DurationHistogram& h, std::string baseline,
                         double target) {
      Row row{.name = name, .bytes = bytes, .baseline = std::move(baseline), .target_ns = target};
      for (int i = 0; i < 100; ++i)
        row.samples.ns.push_back(static_cast<double>(h.Quantile((i + 0.5) / 100)));
      report.Add(std::move(row));
    };
    add(moves ? "hand-over, moved" : "hand-over, moved (by copy)", of_moved, "memcpy",
        bytes == 10 * kMiB    ? 15e3
        : bytes == 100 * kMiB ? 100e3
                              : 0);
    add("hand-over, copied", of_copied, "memcpy", 0);
    // Everything but the touching: buffer_new, call, the callee's handler, and the buffer's way
    // back.
    Row given{.name = "round trip, moved, untouched", .bytes = bytes, .baseline = "memcpy"};
    std::uint64_t expected = 0;
    for (std::uint32_t k = 0; k < 10; ++k) expected += 9 + k;
    for (int i = 0; i < n; ++i)
      given.samples.ns.push_back(
          Time([&] { CHECK(bench.Drive(Op::kGiven, 10, bytes, 9) == expected); }) / 10);
    report.Add(std::move(given));
  }
}

void FreshAndReused(Bench& bench, Report& report, int scale) {
  worker::FunctionSpec fresh_spec;
  fresh_spec.instances = worker::Instances::kFresh;
  const auto fresh = bench.Load("first", fresh_spec, "fresh");
  const std::uint64_t word = 77;
  const auto body = std::as_bytes(std::span(&word, 1));
  for (const auto& [name, function] :
       {std::pair("call by the workflow, reused", bench.Get().Find("first")->Id()),
        std::pair("call by the workflow, fresh", fresh)}) {
    CHECK(bench.Call(function, body) == word);
    Row row{.name = name, .bytes = 8};
    for (int i = 0; i < 500 * scale; ++i)
      row.samples.ns.push_back(Time([&] { bench.Call(function, body); }));
    report.Add(std::move(row));
  }
  worker::Function& function = *bench.Get().Find("fresh");
  Row start{.name = "fresh instance, small module", .target_ns = 5000};
  Row whole{.name = "fresh instance, made and ended"};
  for (int i = 0; i < 500 * scale; ++i) {
    worker::CallFailure failure;
    std::unique_ptr<worker::Instance> instance;
    const double made = Time([&] { instance = function.Acquire(bench.Get(), failure); });
    CHECK(instance != nullptr);
    start.samples.ns.push_back(made);
    whole.samples.ns.push_back(made + Time([&] { instance.reset(); }));
  }
  report.Add(std::move(start));
  report.Add(std::move(whole));
}

std::string Machine() {
  utsname name{};
  ::uname(&name);
  std::string cpu = "unknown CPU";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) {
      cpu = line.substr(line.find(':') + 2);
      break;
    }
  char date[64];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%F", std::gmtime(&now));
  return cpu + ", " + std::to_string(std::thread::hardware_concurrency()) + " CPUs, Linux " +
         name.release + ", " + date;
}

int Main(int argc, char** argv) {
  int scale = 5;
  std::string json;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      scale = 1;
    } else if (argument == "--only" && i + 1 < argc) {
      only = argv[++i];
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(
          stderr,
          "usage: transfer_bench [--quick] [--only calls|instances|payloads] [--json FILE]\n");
      return 2;
    }
  }
  const std::string machine = Machine();
  std::printf("%s\n", machine.c_str());
  Report report;
  worker::RunOnGuestThread([&] {
    Bench bench(buf::MovePolicy::kAuto);
    std::printf("crossover %s\n", Report::Size(bench.Get().Payloads().CrossoverBytes()).c_str());
    if (only.empty() || only == "calls") RoundTrips(bench, report, scale);
    if (only.empty() || only == "instances") FreshAndReused(bench, report, scale);
    if (only.empty() || only == "payloads") Payloads(bench, report, scale);
  });
  if (!json.empty()) report.WriteJson(json, machine);
  return 0;
}

}  // namespace
}  // namespace cwasi::bench

int main(int argc, char** argv) {
  return cwasi::bench::Main(argc, argv);
}
