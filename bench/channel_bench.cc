// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a round trip between two processes costs over a channel, beside what the machine can do at
// best (two words in shared memory, spinning and sleeping) and beside other ways, interleaved in
// one run. Answers are checked.
//
//   channel_bench [--quick] [--pin] [--one-pair] [--ignore-crowd] [--json FILE]
//
// Rows: 64 B, 1 KiB, 64 KiB; one pair, then as many pairs as CPUs at once. A sample is the mean of
// a batch. --pin: callers and callees each on a CPU of their own.

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "bench/echo_pair.h"
#include "bench/report.h"
#include "ipc/wait_set.h"

namespace cwasi::bench {
namespace {

constexpr std::array kKinds = {
    EchoKind::kBareSpin,      EchoKind::kBareFutex,   EchoKind::kChannel,
    EchoKind::kChannelAsleep, EchoKind::kChannelIdle, EchoKind::kUnixStream,
    EchoKind::kUnixSeqpacket, EchoKind::kPipe,        EchoKind::kTcp};

struct Plan {
  int rounds = 0;
  std::uint64_t batch = 0;
  std::size_t bytes = 0;
  int pairs = 1;
  bool pin = false;
  Crowd crowd = Crowd::kRespect;
};

void PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  CHECK(::sched_setaffinity(0, sizeof set, &set) == 0);
}

// Where all pairs wait for each other before each batch; their samples lie behind it.
struct alignas(64) Board {
  pthread_barrier_t barrier;
  double* Samples() { return reinterpret_cast<double*>(this + 1); }
};

void RunPair(const Plan& plan, int pair, Board& board) {
  const int cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (plan.pin) PinTo(2 * pair % cpus);
  std::vector<std::unique_ptr<EchoPair>> pairs;
  pairs.reserve(kKinds.size());
  for (const EchoKind kind : kKinds) {
    pairs.push_back(std::make_unique<EchoPair>(kind, plan.bytes,
                                               plan.pin ? (2 * pair + 1) % cpus : -1, plan.crowd));
  }
  double* out = board.Samples() + static_cast<std::size_t>(pair) * kKinds.size() *
                                      static_cast<std::size_t>(plan.rounds);
  for (int round = -1; round < plan.rounds; ++round) {  // The first warms up.
    for (const auto& way : pairs) {
      ::pthread_barrier_wait(&board.barrier);
      const double ns = way->Batch(plan.batch);
      if (round >= 0) *out++ = ns;
    }
  }
}

std::vector<Samples> Measure(const Plan& plan) {
  const auto pairs = static_cast<std::size_t>(plan.pairs);
  const auto rounds = static_cast<std::size_t>(plan.rounds);
  const std::size_t count = pairs * kKinds.size() * rounds;
  const std::size_t board_bytes = sizeof(Board) + count * sizeof(double);
  void* memory =
      ::mmap(nullptr, board_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  auto& board = *static_cast<Board*>(memory);
  pthread_barrierattr_t shared;
  ::pthread_barrierattr_init(&shared);
  ::pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
  ::pthread_barrier_init(&board.barrier, &shared, static_cast<unsigned>(plan.pairs));
  std::vector<pid_t> children;
  children.reserve(pairs);
  for (int pair = 0; pair < plan.pairs; ++pair) {
    const pid_t child = ::fork();
    CHECK(child >= 0);
    if (child == 0) {
      RunPair(plan, pair, board);
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  std::vector<Samples> samples(kKinds.size());
  const double* in = board.Samples();
  for (std::size_t i = 0; i < count; ++i) samples[i % kKinds.size()].ns.push_back(in[i]);
  ::munmap(memory, board_bytes);
  return samples;
}

void AddRows(Report& report, const Plan& plan) {
  const std::vector<Samples> samples = Measure(plan);
  const std::string suffix = plan.pairs == 1 ? "" : ", " + std::to_string(plan.pairs) + " pairs";
  double futex_median = 0;
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    const EchoKind kind = kKinds[i];
    Row row{.name = Name(kind) + suffix, .bytes = plan.bytes, .samples = samples[i]};
    const bool small = plan.bytes == 64;
    if (kind == EchoKind::kBareFutex) futex_median = samples[i].Median();
    if (kind == EchoKind::kChannel) {
      row.baseline = Name(EchoKind::kBareSpin) + suffix;
      if (small) row.target_ns = 1000;
    } else if (kind == EchoKind::kChannelAsleep || kind == EchoKind::kChannelIdle) {
      row.baseline = Name(EchoKind::kBareFutex) + suffix;
      if (small) row.target_ns = 1.3 * futex_median;
    } else if (i > 2) {
      row.baseline = Name(EchoKind::kChannel) + suffix;
    }
    report.Add(std::move(row));
  }
}

struct Options {
  bool quick = false;
  bool pin = false;
  bool one_pair = false;
  Crowd crowd = Crowd::kRespect;
  std::string json = {};
};

std::optional<Options> Parse(std::span<char*> arguments) {
  Options options;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--pin") {
      options.pin = true;
    } else if (argument == "--one-pair") {
      options.one_pair = true;
    } else if (argument == "--ignore-crowd") {
      options.crowd = Crowd::kIgnore;
    } else if (argument == "--json" && i + 1 < arguments.size()) {
      options.json = arguments[++i];
    } else {
      return std::nullopt;
    }
  }
  return options;
}

int Main(const Options& options) {
  const auto& [quick, pin, one_pair, crowd, json] = options;
  if (const auto supported = ipc::WaitSet::Supported(); !supported) {
    std::fprintf(stderr, "channel_bench: %s\n", supported.error().message.c_str());
    return 1;
  }
  const std::string machine = Report::Machine() + (pin ? ", pinned" : "") +
                              (crowd == Crowd::kIgnore ? ", others ignored" : "");
  std::printf("%s\nround trips between two processes; median and p99 of batches\n",
              machine.c_str());
  Report report;
  const int cpus = static_cast<int>(std::thread::hardware_concurrency());
  for (const int pairs : {1, cpus}) {
    for (const std::size_t bytes : {std::size_t{64}, kKiB, 64 * kKiB}) {
      AddRows(report, {.rounds = quick ? 5 : 200,
                       .batch = bytes > kKiB ? 50U : 200U,
                       .bytes = bytes,
                       .pairs = pairs,
                       .pin = pin,
                       .crowd = crowd});
    }
    if (cpus == 1 || one_pair) break;
  }
  if (!json.empty() && !report.WriteJson(json, machine)) {
    std::fprintf(stderr, "channel_bench: cannot write %s\n", json.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace cwasi::bench

int main(int argc, char** argv) {
  const auto options = cwasi::bench::Parse({argv, static_cast<std::size_t>(argc)});
  if (options.has_value()) return cwasi::bench::Main(*options);
  std::fprintf(
      stderr,
      "usage: channel_bench [--quick] [--pin] [--one-pair] [--ignore-crowd] [--json FILE]\n");
  return 2;
}
