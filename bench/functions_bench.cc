// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A thousand idle functions under one zygote, each in a sandboxed worker of its own, from 20
// modules that differ in code and data: how long until all are ready, what they take while they are
// idle, and that nothing is left when they have ended. Each answer is checked.
//
//   functions_bench [--functions N] [--modules N] [--rounds N] [--quick] [--json FILE]

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "bench/report.h"
#include "test/support/many_functions.h"
#include "test/support/proc_self.h"

namespace cwasi::bench {
namespace {

struct Options {
  std::size_t functions = 1000;
  std::size_t modules = 20;
  int rounds = 5;
  std::string json;
};

void PrintFootprint(const char* when, const test::Footprint& all, std::size_t host_descriptors) {
  const auto workers = static_cast<double>(all.processes - 1);
  std::printf(
      "%s: %zu processes, %zu threads, PSS %.0f MiB (%.2f MiB a function; target 1229 MiB: %s), "
      "page tables %.0f MiB; descriptors: %zu in the host, %zu in all others\n",
      when, all.processes, all.threads, static_cast<double>(all.pss_kib) / 1024,
      static_cast<double>(all.pss_kib) / 1024 / workers,
      all.pss_kib == 0               ? "unreadable"
      : all.pss_kib <= 1229UL * 1024 ? "met"
                                     : "MISSED",
      static_cast<double>(all.page_tables_kib) / 1024, host_descriptors, all.descriptors);
  std::fflush(stdout);
}

void CheckNothingIsLeft(const std::vector<pid_t>& processes, std::size_t descriptors) {
  for (const pid_t pid : processes) CHECK(!std::filesystem::exists("/proc/" + std::to_string(pid)));
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD);
  CHECK(test::CountDescriptors() == descriptors);
}

Samples SamplesOf(const std::vector<MonotonicNs>& durations) {
  Samples samples;
  samples.ns.assign(durations.begin(), durations.end());
  return samples;
}

int Main(const Options& options) {
  const std::string machine = Report::Machine();
  std::printf("%s\n", machine.c_str());
  const std::string many = std::to_string(options.functions) + " functions";
  Row ready{.name = many + ": until the last is ready"};
  Row each{.name = many + ": until one is, all at once"};
  Row first{.name = "first call of each"};
  Row idle{.name = "call of an idle one"};
  Row ended{.name = many + ": until the last has ended"};
  // The first has libc open what it keeps.
  {
    test::ManyFunctions one(1, 1);
  }
  for (int round = 0; round < options.rounds; ++round) {
    const std::size_t descriptors = test::CountDescriptors();
    std::vector<pid_t> processes;
    {
      test::ManyFunctions functions(options.functions, options.modules);
      const auto after = functions.StartAll();
      ready.samples.ns.push_back(static_cast<double>(*std::ranges::max_element(after)));
      each.samples += SamplesOf(after);
      processes = functions.Processes();
      if (round == 0)
        PrintFootprint("loaded", test::FootprintOf(processes), test::CountDescriptors());
      first.samples += SamplesOf(functions.CallEach());
      if (round == 0)
        PrintFootprint("each has answered", test::FootprintOf(processes), test::CountDescriptors());
      idle.samples += SamplesOf(functions.CallEach());
      ended.samples.ns.push_back(Time([&] { functions.EndAll(); }));
    }
    CheckNothingIsLeft(processes, descriptors);
  }
  Report report;
  for (Row* row : {&ready, &each, &first, &idle, &ended}) report.Add(std::move(*row));
  std::printf("%d rounds: all answers were right, no process and no descriptor was left\n",
              options.rounds);
  return options.json.empty() || report.WriteJson(options.json, machine) ? 0 : 1;
}

std::optional<Options> Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&]() -> std::string {
      CHECK(i + 1 < argc);
      return argv[++i];
    };
    if (argument == "--quick") {
      options = {.functions = 20, .modules = 5, .rounds = 1, .json = options.json};
    } else if (argument == "--functions") {
      options.functions = std::stoul(value());
    } else if (argument == "--modules") {
      options.modules = std::stoul(value());
    } else if (argument == "--rounds") {
      options.rounds = std::stoi(value());
    } else if (argument == "--json") {
      options.json = value();
    } else {
      std::fprintf(stderr, "functions_bench: unknown argument '%s'\n", argument.c_str());
      return std::nullopt;
    }
  }
  return options;
}

}  // namespace
}  // namespace cwasi::bench

int main(int argc, char** argv) {
  const auto options = cwasi::bench::Parse(argc, argv);
  return options ? cwasi::bench::Main(*options) : 2;
}
