// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What calls and hand-overs between workers in processes of their own cost, beside bare pairs of
// processes, memcpy, touching and other ways to bring the bytes across, in the same run. Answers
// are checked before any time counts.
//
//   local_bench [--quick] [--only calls|payloads|copies|transports|mixed|fan|broadcast] [--json
//   FILE]
//
// A busy callee spins when the call comes, an idle one sleeps in its futex. Busy: both workers spin
// in each wait for up to SpinPolicy::kLimitNs, and before a long payload the caller makes a short
// call, as after so long a writing the callee sleeps otherwise. Idle: neither ever spins.
// Every figure is the median and p99 of n samples; a round trip's sample is the mean of a batch.
// On a machine that others use, too, run it by `chrt -f 10`: the rest then waits, but for caches.
// Hand-over times are the callee's own, from its histogram: buckets are a sixteenth wide.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "bench/local_pair.h"
#include "bench/local_scenarios.h"
#include "bench/report.h"

namespace cwasi::bench {
namespace {

using Mode = ipc::SpinPolicy::Mode;
using Task = Order::Task;
using Waits = BarePair::Waits;
using Pairs = std::vector<std::unique_ptr<LocalPair>>;

constexpr LocalWorker::Options kBusy{.spinning = Mode::kAlways};
constexpr LocalWorker::Options kIdle{.spinning = Mode::kNever};

// The same order to all pairs at once; their samples together.
LocalPair::Result RunAll(const Pairs& pairs, const Order& order) {
  for (const auto& pair : pairs) pair->Begin(order);
  LocalPair::Result all;
  for (const auto& pair : pairs) {
    auto result = pair->End();
    all.samples += result.samples;
    all.hand_over += result.hand_over;
  }
  return all;
}
Pairs MakePairs(Zygote& zygote, const LocalWorker::Options& options, std::size_t count) {
  Pairs pairs;
  for (std::size_t i = 0; i < count; ++i)
    pairs.push_back(std::make_unique<LocalPair>(
        zygote, options, count == 1 ? Placement::kTwoCpus : Placement::kAnywhere));
  return pairs;
}

void RoundTrips(Zygote& zygote, Report& report, int rounds) {
  LocalPair busy(zygote, kBusy, Placement::kTwoCpus);
  LocalPair idle(zygote, kIdle, Placement::kTwoCpus);
  LocalPair idle_one(zygote, kIdle, Placement::kOneCpu);
  for (const std::size_t bytes : {std::size_t{8}, std::size_t{64}, kKiB, 16 * kKiB, 64 * kKiB}) {
    Row spinning{.name = "bare spinning pair", .bytes = bytes};
    Row futex{.name = "bare futex pair", .bytes = bytes};
    Row row_busy{.name = "round trip, busy",
                 .bytes = bytes,
                 .baseline = "bare spinning pair",
                 .target_ns = bytes == 64 ? 1000.0 : 0};
    Row row_idle{.name = "round trip, idle",
                 .bytes = bytes,
                 .baseline = "bare futex pair",
                 .target_ratio = bytes == 64 ? 1.3 : 0};
    Row futex_one{.name = "bare futex pair, one CPU", .bytes = bytes};
    Row row_one{.name = "round trip, idle, one CPU",
                .bytes = bytes,
                .baseline = "bare futex pair, one CPU",
                .target_ratio = bytes == 64 ? 1.3 : 0};
    // Short batches: on a machine that others use, too, most are not interrupted.
    const auto run = [&](LocalPair& pair, Order order) {
      order.count = &pair == &busy ? 200 : 50;
      order.samples = 5;
      return pair.Run(order).samples;
    };
    run(busy, {.op = Op::kSmall, .bytes = bytes});
    run(idle, {.op = Op::kSmall, .bytes = bytes});
    run(idle_one, {.op = Op::kSmall, .bytes = bytes});
    for (int i = 0; i < rounds; ++i) {
      spinning.samples += run(busy, {.task = Task::kRoundTrip, .waits = Waits::kSpinning});
      row_busy.samples += run(busy, {.op = Op::kSmall, .bytes = bytes});
      futex.samples += run(idle, {.task = Task::kRoundTrip, .waits = Waits::kAsleep});
      row_idle.samples += run(idle, {.op = Op::kSmall, .bytes = bytes});
      futex_one.samples += run(idle_one, {.task = Task::kRoundTrip, .waits = Waits::kAsleep});
      row_one.samples += run(idle_one, {.op = Op::kSmall, .bytes = bytes});
    }
    for (Row* row : {&spinning, &row_busy, &futex, &row_idle, &futex_one, &row_one})
      report.Add(std::move(*row));
  }
}

double BeyondTarget(std::size_t bytes) {
  return bytes == 10 * kMiB ? 30e3 : bytes == 100 * kMiB ? 150e3 : bytes == 500 * kMiB ? 450e3 : 0;
}

// One size, by one pair or several at once; `which` ends the rows' names.
void Payloads(const Pairs& busy, const Pairs& idle, Report& report, std::size_t bytes, int rounds,
              std::uint32_t n, const std::string& which) {
  Samples wake;
  Samples spin;
  Samples touch;
  Samples touch_across;
  Samples end_to_end;
  Samples copied;
  Samples memcpy_touched;
  struct HandOver {
    const char* name;
    const Pairs& pairs;
    Op op;
    const Samples& bare;
    bool has_target;
    Samples samples = {};
  };
  std::vector<HandOver> hand_overs = {
      {"hand-over, busy", busy, Op::kMovedRoused, spin, true},
      {"hand-over, busy, untouched", busy, Op::kGivenRoused, spin, true},
      {"hand-over, idle", idle, Op::kMoved, wake, true},
      {"hand-over, idle, untouched", idle, Op::kGiven, wake, true}};
  const auto order = [&](Op op, std::uint32_t samples) {
    return Order{.op = op, .bytes = bytes, .samples = samples};
  };
  for (const Op op : {Op::kTouch, Op::kMoved, Op::kCopied, Op::kMovedRoused, Op::kGivenRoused}) {
    RunAll(busy, order(op, 2));
    RunAll(idle, order(op, 2));
  }
  for (int round = 0; round < rounds; ++round) {
    const std::size_t touched = std::min(bytes, 10 * kMiB);
    wake += RunAll(idle, {.task = Task::kOneWay, .bytes = touched, .samples = n}).samples;
    spin +=
        RunAll(busy,
               {.task = Task::kOneWay, .waits = Waits::kSpinning, .bytes = touched, .samples = n})
            .samples;
    for (HandOver& h : hand_overs) h.samples += RunAll(h.pairs, order(h.op, n)).hand_over;
    // Nearly in turn: what is compared is a few per cent. But not after each other: whoever writes
    // a payload that another CPU has just read waits for that CPU's cache, and each is to pay for
    // its own.
    for (std::uint32_t i = 0; i < n; ++i) {
      RunAll(idle, order(Op::kTouch, 1));
      touch += RunAll(idle, order(Op::kTouch, 1)).samples;
      RunAll(idle, {.task = Task::kBareTouch, .bytes = bytes});
      touch_across += RunAll(idle, {.task = Task::kBareTouch, .bytes = bytes}).samples;
      RunAll(idle, order(Op::kMoved, 1));
      end_to_end += RunAll(idle, order(Op::kMoved, 1)).samples;
    }
    memcpy_touched += RunAll(busy, {.task = Task::kMemcpy, .bytes = bytes, .samples = n}).samples;
    copied += RunAll(busy, order(Op::kCopied, n)).hand_over;
  }
  const auto add = [&](const std::string& name, Samples samples, const std::string& baseline = "",
                       double ratio = 0) {
    report.Add({.name = name + which,
                .bytes = bytes,
                .samples = std::move(samples),
                .baseline = baseline.empty() ? "" : baseline + which,
                .target_ratio = ratio});
  };
  const bool end_to_end_target = bytes >= 10 * kMiB;
  // The lower quartile: less is taken off, and who else uses the machine counts less.
  const double wake_floor = wake.Quantile(0.25);
  const double spin_floor = spin.Quantile(0.25);
  for (const HandOver& h : hand_overs) {
    if (h.samples.ns.empty()) continue;
    report.Add({.name = h.name + which, .bytes = bytes, .samples = h.samples});
    Row beyond{.name = "  beyond the bare wake-up" + which,
               .bytes = bytes,
               .samples = h.samples,
               .target_ns = h.has_target ? BeyondTarget(bytes) : 0};
    const double bare = &h.bare == &wake ? wake_floor : spin_floor;
    for (double& ns : beyond.samples.ns) ns -= bare;
    report.Add(std::move(beyond));
  }
  add("bare wake-up", std::move(wake));
  add("bare spinning wake-up", std::move(spin));
  add("touching alone", std::move(touch));
  add("touching, written and read apart", std::move(touch_across));
  add("end to end, moved", end_to_end, "touching, written and read apart");
  add("end to end, moved", std::move(end_to_end), "touching alone", end_to_end_target ? 1.1 : 0);
  add("memcpy of touched bytes", std::move(memcpy_touched));
  add("hand-over, copied", std::move(copied), "memcpy of touched bytes", 1.15);
}

// What each copy of a payload costs, where docs/architecture.md says how many there are. That so
// many were made is looked at first.
void CopiesByCount(Zygote& zygote, Report& report, bool quick) {
  struct Way {
    const char* name;
    ipc::Relation relation;
    Op op;
    std::uint64_t copies;
  };
  constexpr std::array kWays = {
      Way{"same domain, plain", ipc::Relation::kSameDomain, Op::kCopied, 1},
      Way{"other domain, moved, made for it", ipc::Relation::kOtherDomain, Op::kMovedFor, 1},
      Way{"other domain, moved", ipc::Relation::kOtherDomain, Op::kMoved, 2},
      Way{"other domain, plain", ipc::Relation::kOtherDomain, Op::kCopied, 2}};
  for (const std::size_t bytes : {kMiB, 10 * kMiB, 100 * kMiB}) {
    for (const Way& way : kWays) {
      auto options = kBusy;
      options.relation = way.relation;
      LocalPair pair(zygote, options, Placement::kTwoCpus);
      pair.Run({.op = way.op, .bytes = bytes, .samples = 2});
      Samples one;
      Row all{.name = std::string("hand-over, ") + way.name, .bytes = bytes};
      const std::uint32_t n = quick ? 1 : 4;
      for (int round = 0; round < (quick ? 1 : 10); ++round) {
        one += pair.Run({.task = Task::kMemcpy, .bytes = bytes, .samples = n}).samples;
        std::this_thread::sleep_for(std::chrono::milliseconds(30));  // The callee tells every 10.
        const std::uint64_t callee_before = pair.CalleeCopiedBytes();
        const auto result = pair.Run({.op = way.op, .bytes = bytes, .samples = n});
        const std::uint64_t wanted = way.copies * n;
        std::uint64_t counted = 0;
        for (const MonotonicNs end = Now() + 1'000'000'000; counted != wanted && Now() < end;)
          counted = (result.copied_bytes + pair.CalleeCopiedBytes() - callee_before) / bytes;
        if (counted != wanted) {
          std::fprintf(
              stderr, "local_bench: %s, %s: %llu copies in %u calls (%llu by the caller)\n",
              way.name, Report::Size(bytes).c_str(), static_cast<unsigned long long>(counted), n,
              static_cast<unsigned long long>(result.copied_bytes / bytes));
          std::exit(1);
        }
        all.samples += result.hand_over;
      }
      Row memcpys{.name = std::to_string(way.copies) + " memcpy of touched bytes, " + way.name,
                  .bytes = bytes,
                  .samples = std::move(one)};
      for (double& ns : memcpys.samples.ns) ns *= static_cast<double>(way.copies);
      all.baseline = memcpys.name;
      all.target_ratio = 1.15;
      report.Add(std::move(memcpys));
      report.Add(std::move(all));
    }
  }
}

void AllPayloads(Zygote& zygote, Report& report, bool quick) {
  const std::vector<std::size_t> sizes =
      quick ? std::vector<std::size_t>{256 * kKiB, 10 * kMiB}
            : std::vector<std::size_t>{64 * kKiB, 256 * kKiB, kMiB,      2 * kMiB,
                                       10 * kMiB, 100 * kMiB, 500 * kMiB};
  for (const std::size_t bytes : sizes) {
    Row cold{.name = "end to end, moved, cold", .bytes = bytes};
    Row cold_hand_over{.name = "hand-over, cold", .bytes = bytes};
    for (int i = 0; i < (quick ? 2 : 5); ++i) {
      LocalPair pair(zygote, kBusy, Placement::kTwoCpus);
      // Function and channel are warm, the segment is not.
      pair.Run({.op = Op::kSmall, .count = 100, .bytes = 64});
      const auto result = pair.Run({.op = Op::kMoved, .bytes = bytes});
      cold.samples += result.samples;
      cold_hand_over.samples += result.hand_over;
    }
    report.Add(std::move(cold));
    report.Add(std::move(cold_hand_over));
  }
  const int rounds = quick ? 1 : 5;
  const std::size_t cores = std::max(2U, std::thread::hardware_concurrency());
  for (const std::size_t pairs : {std::size_t{1}, cores}) {
    const std::string which = pairs == 1 ? "" : ", " + std::to_string(pairs) + " pairs";
    for (const std::size_t bytes : sizes) {
      // Fresh ones for each size, or a pool would hold segments of all of them.
      const Pairs busy = MakePairs(zygote, kBusy, pairs);
      const Pairs idle = MakePairs(zygote, kIdle, pairs);
      Payloads(busy, idle, report, bytes, rounds, quick ? 2 : bytes >= 100 * kMiB ? 4 : 20, which);
    }
  }
}

int Main(int argc, char** argv) {
  bool quick = false;
  std::string json;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--only" && i + 1 < argc) {
      only = argv[++i];
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr,
                   "usage: local_bench [--quick] [--only "
                   "calls|payloads|copies|transports|mixed|fan|broadcast] "
                   "[--json FILE]\n");
      return 2;
    }
  }
  const std::string machine = Report::Machine();
  std::printf("%s\n", machine.c_str());
  Report report;
  Zygote zygote({"driver", "fan", "first", "mixed", "reader", "sum", "touch"});
  std::printf("crossover %s\n", Report::Size(zygote.Ability().crossover_bytes).c_str());
  if (only.empty() || only == "calls") RoundTrips(zygote, report, quick ? 1 : 50);
  if (only.empty() || only == "payloads") AllPayloads(zygote, report, quick);
  if (only.empty() || only == "copies") CopiesByCount(zygote, report, quick);
  if (only.empty() || only == "transports") RunTransports(zygote, report, quick);
  if (only.empty() || only == "mixed") RunMixed(zygote, report, quick);
  if (only.empty() || only == "fan") RunFan(zygote, report, quick);
  if (only.empty() || only == "broadcast") RunBroadcast(zygote, report, quick);
  if (json.empty() || report.WriteJson(json, machine)) return 0;
  std::fprintf(stderr, "local_bench: cannot write %s\n", json.c_str());
  return 1;
}

}  // namespace
}  // namespace cwasi::bench

int main(int argc, char** argv) {
  return cwasi::bench::Main(argc, argv);
}
