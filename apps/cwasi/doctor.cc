// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// `cwasi doctor`: what of cwasi works on this machine, and what to do about the rest.

#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"
#include "commands.h"
#include "host/worker_process.h"
#include "host/zygote.h"
#include "loop/loop.h"
#include "sandbox/facts.h"
#include "wasm/module_cache.h"

namespace cwasi::cli {
namespace {

using sandbox::Fact;
using sandbox::FactState;

constexpr std::uint64_t kEnoughMappings = 65530;  // The kernel's default.

// A line of the report. What is needed and not there makes `doctor` fail.
struct Check {
  Fact fact;
  bool needed = false;
};

Check Holds(std::string name, std::string how) {
  return {.fact = {.name = std::move(name),
                   .state = FactState::kHolds,
                   .why = std::move(how),
                   .advice = ""}};
}
Check Lacks(std::string name, std::string why, std::string advice, bool needed) {
  return {.fact = {.name = std::move(name),
                   .state = FactState::kDoesNotHold,
                   .why = std::move(why),
                   .advice = std::move(advice)},
          .needed = needed};
}

void CheckSandbox(std::vector<Check>& checks) {
  auto facts = sandbox::MeasureFacts();
  if (!facts) {
    checks.push_back(
        Lacks("sandbox", facts.error().message, "a kernel with CONFIG_SECCOMP_FILTER", true));
    return;
  }
  for (Fact& fact : *facts) checks.push_back({.fact = std::move(fact)});
}

// How workers wait for each other. Linux 5.16; there is no way to ask but to call it.
Check CheckWaiting() {
#ifndef SYS_futex_waitv  // Of Debian 12's kernel, not of its C library.
#define SYS_futex_waitv 449
#endif
  const char* name = "local mode";
  if (::syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, 0) == 0 || errno != ENOSYS)
    return Holds(name, "workers wait by futex_waitv");
  return Lacks(name, "the kernel has no futex_waitv, so functions can only be embedded",
               "Linux 5.16 or newer", true);
}

// What a fresh worker says of this machine.
Result<ipc::HelloReply> GreetWorker(const std::filesystem::path& program) {
  TRY_SET(auto loop, loop::Loop::Create());
  Result<ipc::HelloReply> hello = Fail(ErrorCode::kUnavailable, "the worker did not answer");
  const auto stop_for = [&](const Error& error) {
    hello = tl::unexpected(error);
    loop->Stop();
  };
  TRY_SET(auto zygote, host::Zygote::Start(*loop, program, stop_for));
  TRY_SET(auto worker, host::WorkerProcess::Start(*loop, *zygote, 1, stop_for));
  worker->Ask(ipc::Hello{}, {}, std::chrono::seconds(10), [&](Result<ipc::ResponseBody> answer) {
    if (!answer) return stop_for(answer.error());
    if (auto* reply = std::get_if<ipc::HelloReply>(&*answer)) hello = std::move(*reply);
    loop->Stop();
  });
  loop->Run();
  worker.reset();
  zygote->Stop(std::chrono::seconds(5));
  return hello;
}

void CheckWorker(std::vector<Check>& checks) {
  const auto program = host::Zygote::DefaultProgram();
  if (!program) {
    checks.push_back(
        Lacks("worker", program.error().message, "install cwasi-host beside cwasi", true));
    return;
  }
  const auto hello = GreetWorker(*program);
  if (!hello) {
    checks.push_back(Lacks("worker", hello.error().message, "", true));
    return;
  }
  checks.push_back(Holds("worker", "starts and answers"));
  if (hello->swap_available) {
    checks.push_back(Holds("moving payloads", "from " +
                                                  std::to_string(hello->crossover_bytes / 1024) +
                                                  " KiB on; shorter ones are copied"));
  } else {
    checks.push_back(Lacks("moving payloads", hello->swap_reason,
                           "nothing is needed: all are copied, which is slower", false));
  }
}

Check CheckMappings() {
  const char* name = "memory mappings";
  std::uint64_t most = 0;
  if (!(std::ifstream("/proc/sys/vm/max_map_count") >> most))
    return Lacks(name, "vm.max_map_count is unreadable", "", false);
  const std::string count =
      "vm.max_map_count is " + std::to_string(most) + "; a worker uses at most half";
  if (most >= kEnoughMappings) return Holds(name, count);
  return Lacks(name, count, "sysctl vm.max_map_count=" + std::to_string(kEnoughMappings), false);
}

Check CheckCache() {
  const char* name = "cache of modules";
  const auto directory = wasm::ModuleCache::DefaultDirectory();
  if (!directory) return Lacks(name, directory.error().message, "set CWASI_CACHE_DIR", true);
  if (auto cache = wasm::ModuleCache::Open(*directory); !cache)
    return Lacks(name, cache.error().message, "set CWASI_CACHE_DIR to a folder of your own", true);
  return Holds(name, directory->string());
}

const char* Word(const Check& check) {
  switch (check.fact.state) {
    case FactState::kHolds:
      return "yes";
    case FactState::kNotApplicable:
      return "-";
    case FactState::kDoesNotHold:
      break;
  }
  return check.needed ? "NO" : "no";
}

}  // namespace

int Doctor() {
  std::vector<Check> checks;
  // First, while this process has one thread.
  CheckSandbox(checks);
  CheckWorker(checks);
  checks.push_back(CheckWaiting());
  checks.push_back(CheckMappings());
  checks.push_back(CheckCache());
  utsname kernel{};
  ::uname(&kernel);
  std::printf("cwasi %s on %s %s, %u CPUs, as %s\n\n", CWASI_VERSION, kernel.sysname,
              kernel.release, std::thread::hardware_concurrency(),
              ::geteuid() == 0 ? "root" : "an ordinary user");
  bool complete = true;
  for (const Check& check : checks) {
    complete = complete && !check.needed;
    std::printf("%4s  %-22s %s\n", Word(check), check.fact.name.c_str(), check.fact.why.c_str());
    if (!check.fact.advice.empty()) std::printf("%28s -> %s\n", "", check.fact.advice.c_str());
  }
  std::printf("\n%s\n",
              complete ? "Everything needed is there." : "Something needed is missing: NO above.");
  return complete ? 0 : 1;
}

}  // namespace cwasi::cli
