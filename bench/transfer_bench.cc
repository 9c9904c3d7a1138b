// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a hand-over between two functions of one worker costs, beside memcpy and the touching of the
// same bytes in the same run. Answers are checked before any time counts.
//
//   transfer_bench [--quick] [--only calls|instances|payloads|deadlines] [--json FILE]
//
// Rows: embedded round trips, 8 B to 64 KiB; hand-over and end to end, 64 KiB to 500 MiB, moved and
// copied, cold and warm; fresh and reused instances; how late a deadline is noticed.
// Every figure is the median and p99 of n samples; a round trip's sample is the mean of a batch.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "bench/baseline.h"
#include "bench/expect.h"
#include "bench/report.h"
#include "buf/units.h"
#include "test/support/files.h"
#include "test/support/temp_dir.h"
#include "test/support/worker_fixture.h"
#include "worker/worker.h"

namespace cwasi::bench {
namespace {

enum class Op : std::uint32_t { kSmall, kMoved, kCopied, kTouch, kGiven };

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
    const auto path = folder_.Path() / (guest + ".cwasm");
    if (!std::filesystem::exists(path)) {
      const auto wasm = test::ReadFile(test::GuestPath(guest));
      test::WriteFile(path, Expect(worker_->Engine().Compile(wasm, guest)));
    }
    spec.name = name.empty() ? guest : name;
    spec.embed = worker::Embed::kAllow;
    spec.timeout = std::chrono::minutes(5);
    return Expect(worker_->Load(spec, path));
  }
  double TimeLoad(const std::string& guest, const std::string& name) {
    return Time([&] { Load(guest, {}, name); });
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
    request.parts.push_back({.value = {.payload = buf::Payload({body.begin(), body.end()})},
                             .name = "",
                             .producer = "bench"});
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
  test::TempDir folder_;
  std::unique_ptr<worker::Worker> worker_;
  std::uint32_t driver_ = 0;
};

std::uint64_t SumOfWords(std::size_t bytes, std::uint64_t seed) {
  const std::uint64_t n = bytes / 8;
  return n * seed + n * (n - 1) / 2;
}

void RoundTrips(Bench& bench, Report& report, int scale) {
  BareCall bare;
  std::uint32_t seed = 1;
  for (const std::size_t bytes : {std::size_t{8}, std::size_t{64}, kKiB, 16 * kKiB, 64 * kKiB}) {
    const std::uint32_t batch = bytes > 4 * kKiB ? 1000 : 20'000;
    CHECK(bench.Drive(Op::kSmall, 3, bytes, 5) == 5 + 6 + 7);  // Only the first word is not zero.
    CHECK(bare.Drive(3, static_cast<std::uint32_t>(bytes), 5) == 5 + 6 + 7);
    bench.Drive(Op::kSmall, batch, bytes, seed);
    Row engine{.name = "engine alone", .bytes = bytes};
    Row row{.name = "embedded round trip",
            .bytes = bytes,
            .baseline = "engine alone",
            .target_ns = bytes == 64 ? 60.0 : 0};
    for (int i = 0; i < 20 * scale; ++i) {
      engine.samples.ns.push_back(
          Time([&] { bare.Drive(batch, static_cast<std::uint32_t>(bytes), ++seed); }) / batch);
      row.samples.ns.push_back(Time([&] { bench.Drive(Op::kSmall, batch, bytes, ++seed); }) /
                               batch);
    }
    report.Add(std::move(engine));
    report.Add(std::move(row));
  }
}

void Payloads(Bench& bench, Report& report, int scale) {
  std::uint32_t seed = 1;
  for (const std::size_t bytes :
       {64 * kKiB, 256 * kKiB, kMiB, 2 * kMiB, 10 * kMiB, 100 * kMiB, 500 * kMiB}) {
    const int n = (bytes >= 100 * kMiB ? 10 : 50) * scale;
    const bool moves = bench.Get().Payloads().Moves(bytes);
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
    // Rows and their floors in turn, since the machine changes its speed within seconds.
    constexpr int kRounds = 5;
    Samples memcpy_alone;
    Samples memcpy_touched;
    Samples bare_move;
    DurationHistogram of_moved;
    DurationHistogram of_copied;
    for (int round = 0; round < kRounds; ++round) {
      memcpy_alone += TimeMemcpy(bytes, n / kRounds);
      bare_move += TimeBareMove(bytes, n / kRounds);
      std::swap(edge.hand_over, of_moved);
      for (int i = 0; i < n / kRounds; ++i) {
        ++seed;
        touch.samples.ns.push_back(Time(
            [&] { CHECK(bench.Drive(Op::kTouch, 1, bytes, seed) == SumOfWords(bytes, seed)); }));
        moved.samples.ns.push_back(Time(
            [&] { CHECK(bench.Drive(Op::kMoved, 1, bytes, seed) == SumOfWords(bytes, seed)); }));
      }
      std::swap(edge.hand_over, of_moved);
      memcpy_touched += TimeMemcpyOfTouched(bytes, n / kRounds);
      std::swap(edge.hand_over, of_copied);
      for (int i = 0; i < n / kRounds; ++i) {
        ++seed;
        copied.samples.ns.push_back(Time(
            [&] { CHECK(bench.Drive(Op::kCopied, 1, bytes, seed) == SumOfWords(bytes, seed)); }));
      }
      std::swap(edge.hand_over, of_copied);
    }
    report.Add({.name = "memcpy", .bytes = bytes, .samples = std::move(memcpy_alone)});
    report.Add(
        {.name = "memcpy of touched bytes", .bytes = bytes, .samples = std::move(memcpy_touched)});
    report.Add({.name = "moving the pages alone", .bytes = bytes, .samples = std::move(bare_move)});
    report.Add(std::move(touch));
    report.Add(std::move(moved));
    report.Add(std::move(copied));
    // The host's own measurement; buckets are a sixteenth wide, so the figures are upper ends.
    const auto add = [&](const char* name, const DurationHistogram& h, std::string baseline,
                         double target) {
      Row row{.name = name, .bytes = bytes, .baseline = std::move(baseline), .target_ns = target};
      for (int i = 0; i < 100; ++i)
        row.samples.ns.push_back(static_cast<double>(h.Quantile((i + 0.5) / 100)));
      report.Add(std::move(row));
    };
    add(moves ? "hand-over, moved" : "hand-over, moved (by copy)", of_moved,
        moves ? "moving the pages alone" : "memcpy of touched bytes",
        bytes == 10 * kMiB    ? 15e3
        : bytes == 100 * kMiB ? 100e3
                              : 0);
    add("hand-over, copied", of_copied, "memcpy of touched bytes", 0);
    // Everything but the touching: buffer_new, call, the callee's handler, and the buffer's way
    // back.
    Row given{.name = "round trip, moved, untouched",
              .bytes = bytes,
              .baseline = "memcpy of touched bytes"};
    std::uint64_t expected = 0;
    for (std::uint32_t k = 0; k < 10; ++k) expected += 9 + k;
    auto& untouched = bench.Get().Edges().Of({"driver", "first"}).hand_over;
    untouched = {};
    for (int i = 0; i < n; ++i)
      given.samples.ns.push_back(
          Time([&] { CHECK(bench.Drive(Op::kGiven, 10, bytes, 9) == expected); }) / 10);
    report.Add(std::move(given));
    add("hand-over, moved, untouched", untouched, "moving the pages alone",
        bytes == 10 * kMiB ? 15e3 : 0);
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
  // Mapping the compiled file, linking, a first instance.
  Row load{.name = "load of a compiled module"};
  for (int i = 0; i < 100 * scale; ++i) {
    load.samples.ns.push_back(bench.TimeLoad("first", "load" + std::to_string(i)));
  }
  report.Add(std::move(load));
}

// A worker in a process of its own fills 3.6 GiB again and again; how long after the deadline it is
// gone.
double LatenessOfBulk(std::chrono::nanoseconds timeout) {
  int start_pipe[2];
  CHECK(::pipe(start_pipe) == 0);
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(null, STDERR_FILENO);  // The worker says that it ends.
    worker::RunOnGuestThread([&] {
      test::WorkerHarness harness;
      worker::FunctionSpec spec;
      spec.memory_limit_bytes = std::size_t{4} << 30;
      const auto id = harness.Load("script", "script", spec);
      test::Script script;
      script.Add(test::Op::kGrow, {60'000U});
      for (int i = 0; i < 100; ++i)
        script.Add(test::Op::kBulkFill,
                   {static_cast<std::uint32_t>(4 * kMiB), static_cast<std::uint32_t>(3700 * kMiB)});
      const MonotonicNs start = Now();
      CHECK(::write(start_pipe[1], &start, sizeof start) == sizeof start);
      static_cast<void>(harness.Invoke(id, script.Bytes(), timeout));
    });
    ::_exit(0);
  }
  int status = 0;
  CHECK(::waitpid(pid, &status, 0) == pid);
  const MonotonicNs end = Now();
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == worker::kOverrunExitCode);
  MonotonicNs start = 0;
  CHECK(::read(start_pipe[0], &start, sizeof start) == sizeof start);
  ::close(start_pipe[0]);
  ::close(start_pipe[1]);
  return static_cast<double>(end - start - timeout.count());
}

// From the deadline to the moment the caller knows.
void Deadlines(Report& report, int scale) {
  constexpr auto kTimeout = std::chrono::milliseconds(20);
  Row loop{.name = "late, endless loop", .target_ns = 10e6};
  worker::RunOnGuestThread([&] {
    test::WorkerHarness harness;
    const auto id = harness.Load("script", "script");
    test::Script script;
    script.Add(test::Op::kLoop);
    for (int i = 0; i < 10 * scale; ++i) {
      const MonotonicNs start = Now();
      const auto reply = harness.Invoke(id, script.Bytes(), kTimeout);
      const auto took = static_cast<double>(Now() - start);
      CHECK(!reply && reply.error().call_class == CallClass::kTimeout);
      loop.samples.ns.push_back(took - std::chrono::nanoseconds(kTimeout).count());
    }
  });
  report.Add(std::move(loop));
  // Bulk memory operations look at no deadline: the worker ends, so each is a process of its own.
  Row bulk{.name = "late, bulk memory operation", .target_ns = 60e6};
  for (int i = 0; i < 2 * scale; ++i) bulk.samples.ns.push_back(LatenessOfBulk(kTimeout));
  report.Add(std::move(bulk));
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
          "usage: transfer_bench [--quick] [--only calls|instances|payloads|deadlines] [--json "
          "FILE]\n");
      return 2;
    }
  }
  const std::string machine = Report::Machine();
  std::printf("%s\n", machine.c_str());
  Report report;
  // First: it forks, and there are no threads yet.
  if (only.empty() || only == "deadlines") Deadlines(report, scale);
  worker::RunOnGuestThread([&] {
    Bench bench(buf::MovePolicy::kAuto);
    std::printf("crossover %s\n", Report::Size(bench.Get().Payloads().CrossoverBytes()).c_str());
    if (only.empty() || only == "calls") RoundTrips(bench, report, scale);
    if (only.empty() || only == "instances") FreshAndReused(bench, report, scale);
    if (only.empty() || only == "payloads") Payloads(bench, report, scale);
  });
  if (json.empty() || report.WriteJson(json, machine)) return 0;
  std::fprintf(stderr, "transfer_bench: cannot write %s\n", json.c_str());
  return 1;
}

}  // namespace
}  // namespace cwasi::bench

int main(int argc, char** argv) {
  return cwasi::bench::Main(argc, argv);
}
