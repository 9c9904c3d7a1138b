// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How long a new worker takes: the fork alone, and all of a cold start. Each iteration forks one
// worker, asks it, and ends it; the end is not timed. The least, the median and the
// 99th percentile are counters.
//
//   start_bench [--benchmark_filter=Cold]

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/expect.h"
#include "host/worker_process.h"
#include "host/zygote.h"
#include "test/support/files.h"
#include "test/support/paths.h"
#include "wasm/engine.h"

namespace cwasi::bench {
namespace {

using namespace std::chrono_literals;
constexpr auto kTimeout = 30s;
constexpr const char* kSandboxed = "cwasi-host";
constexpr const char* kBare = "bare_zygote";

// Ends the program on an answer that is none.
void Check(Result<ipc::ResponseBody> answer) {
  const auto body = Expect(std::move(answer));
  if (const auto* error = std::get_if<Error>(&body)) Stop(error->message);
  if (const auto* error = std::get_if<CallError>(&body)) Stop(Describe(*error));
}

class Starter {
 public:
  explicit Starter(const char* program)
      : loop_(Expect(loop::Loop::Create())),
        zygote_(Expect(host::Zygote::Start(*loop_, test::BinFolder() / program,
                                           [](const Error& error) { Stop(error.message); }))) {
    const auto engine = Expect(wasm::CreateEngine({}, nullptr));
    module_path_ = (test::BinFolder() / "start_bench.cwasm").string();
    test::WriteFile(module_path_,
                    Expect(engine->Compile(test::ReadFile(test::GuestPath("echo")), "echo")));
  }

  // From the request for a fork to the answer of the last of `requests`.
  MonotonicNs Start(
      const std::function<void(host::WorkerProcess&, std::function<void()>)>& requests) {
    bool gone = false;
    bool done = false;
    const MonotonicNs start = Now();
    auto worker = Expect(host::WorkerProcess::Start(*loop_, *zygote_, ++last_id_,
                                                    [&](const Error&) { gone = true; }));
    requests(*worker, [&] { done = true; });
    while (!done) loop_->RunOnce(kNoDeadline);
    const MonotonicNs end = Now();
    worker->Kill();
    while (!gone) loop_->RunOnce(kNoDeadline);
    return end - start;
  }

  [[nodiscard]] UniqueFd Module() const {
    return UniqueFd(::open(module_path_.c_str(), O_RDONLY | O_CLOEXEC));
  }

 private:
  std::unique_ptr<loop::Loop> loop_;
  std::unique_ptr<host::Zygote> zygote_;
  std::string module_path_;
  ipc::WorkerId last_id_ = 0;
};

void Report(benchmark::State& state, std::vector<MonotonicNs> samples) {
  std::ranges::sort(samples);
  const auto at = [&](std::size_t percent) {
    return static_cast<double>(
               samples[std::min(samples.size() - 1, samples.size() * percent / 100)]) /
           1000.0;
  };
  state.counters["min_us"] = at(0);
  state.counters["p50_us"] = at(50);
  state.counters["p99_us"] = at(99);
}

template <class Requests>
void Measure(benchmark::State& state, const char* program, Requests requests) {
  Starter starter(program);
  std::vector<MonotonicNs> samples;
  for ([[maybe_unused]] const auto _ : state) {
    samples.push_back(starter.Start([&](host::WorkerProcess& worker, std::function<void()> done) {
      requests(starter, worker, std::move(done));
    }));
    state.SetIterationTime(static_cast<double>(samples.back()) / 1e9);
  }
  Report(state, std::move(samples));
}

void AskFirst(host::WorkerProcess& worker) {
  worker.Ask(ipc::Hello{}, {}, kTimeout, [](auto answer) { Check(std::move(answer)); });
}

// What a worker would cost without one: exec, the engine, measuring what pages can do.
void BM_Zygote(benchmark::State& state) {
  const auto loop = Expect(loop::Loop::Create());
  std::vector<MonotonicNs> samples;
  for ([[maybe_unused]] const auto _ : state) {
    const MonotonicNs start = Now();
    const auto zygote = Expect(host::Zygote::Start(
        *loop, test::BinFolder() / "cwasi-host", [](const Error& error) { Stop(error.message); }));
    samples.push_back(Now() - start);
    state.SetIterationTime(static_cast<double>(samples.back()) / 1e9);
  }
  Report(state, std::move(samples));
}
BENCHMARK(BM_Zygote)->UseManualTime()->Unit(benchmark::kMicrosecond);

// The process is there and has answered its greeting.
void BM_Fork(benchmark::State& state) {
  Measure(state, kSandboxed, [](Starter&, host::WorkerProcess& worker, std::function<void()> done) {
    worker.Ask(ipc::Hello{}, {}, kTimeout, [done = std::move(done)](auto answer) {
      Check(std::move(answer));
      done();
    });
  });
}
BENCHMARK(BM_Fork)->UseManualTime()->Unit(benchmark::kMicrosecond);

// A small C module that is in the cache: fork, load, first instance, first call.
void ColdStart(benchmark::State& state, const char* program) {
  Measure(state, program,
          [](Starter& starter, host::WorkerProcess& worker, std::function<void()> done) {
            AskFirst(worker);
            worker.Ask(
                ipc::Configure{.worker_id = worker.Id(), .payload_budget_bytes = 1ULL << 30U}, {},
                kTimeout, [](auto answer) { Check(std::move(answer)); });
            worker.Ask(ipc::LoadFunction{.id = 1,
                                         .name = "echo",
                                         .memory_limit_bytes = 64ULL << 20U,
                                         .timeout = 10s,
                                         .embed = ipc::Embed::kAllow},
                       starter.Module(), kTimeout, [](auto answer) { Check(std::move(answer)); });
            worker.Ask(ipc::Invoke{.function_id = 1,
                                   .request_id = 1,
                                   .result_value_id = 1,
                                   .timeout = 10s,
                                   .step = "bench",
                                   .parts = {},
                                   .metadata = {}},
                       {}, kTimeout, [done = std::move(done)](auto answer) {
                         Check(std::move(answer));
                         done();
                       });
          });
}
void BM_ColdStart(benchmark::State& state) {
  ColdStart(state, kSandboxed);
}
BENCHMARK(BM_ColdStart)->UseManualTime()->Unit(benchmark::kMicrosecond);

void BM_ColdStartWithoutSandbox(benchmark::State& state) {
  ColdStart(state, kBare);
}
BENCHMARK(BM_ColdStartWithoutSandbox)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace cwasi::bench

BENCHMARK_MAIN();
