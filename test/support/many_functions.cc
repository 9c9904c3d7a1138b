// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/support/many_functions.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "base/check.h"
#include "test/guests/variant.h"
#include "test/support/files.h"
#include "test/support/paths.h"
#include "wasm/engine.h"

namespace cwasi::test {
namespace {

using namespace std::chrono_literals;
constexpr auto kTimeout = 60s;

[[noreturn]] void Stop(const std::string& why) {
  std::fprintf(stderr, "many functions: %s\n", why.c_str());
  std::abort();
}

template <class T>
T Must(Result<T> result) {
  if (!result) Stop(result.error().message);
  return std::move(*result);
}

// What a request was answered with, if that is no failure.
ipc::ResponseBody Answer(Result<ipc::ResponseBody> answer) {
  auto body = Must(std::move(answer));
  if (const auto* error = std::get_if<Error>(&body)) Stop(error->message);
  if (const auto* error = std::get_if<CallError>(&body)) Stop(Describe(*error));
  return body;
}
void Check(Result<ipc::ResponseBody> answer) {
  static_cast<void>(Answer(std::move(answer)));
}

UniqueFd Memfd() {
  UniqueFd fd(::memfd_create("value", MFD_CLOEXEC));
  CHECK(fd.IsOpen());
  return fd;
}

// The number after "FIELD:" in a file of /proc; 0 if it is not there.
std::size_t Field(const std::string& path, const std::string& field) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.rfind(field + ":", 0) == 0) return std::stoul(line.substr(field.size() + 1));
  return 0;
}

}  // namespace

ManyFunctions::ManyFunctions(std::size_t functions, std::size_t modules)
    : loop_(Must(loop::Loop::Create())),
      introducer_(*loop_, {.may_call = [](const auto&, std::uint32_t) { return false; },
                           .start_worker = [](std::uint32_t, ipc::WantedWorker) { return false; },
                           .broken =
                               [this](ipc::WorkerId, const Error& error) {
                                 // A worker that ends closes this one of its sockets, too.
                                 if (!ending_) Stop("introductions: " + error.message);
                               }}) {
  CHECK(modules > 0 && modules <= kMaxModules);
  const auto engine = Must(wasm::CreateEngine({}, nullptr));
  modules_.reserve(modules);
  for (std::size_t m = 1; m <= modules; ++m) {
    const std::string name = "variant" + std::to_string(m);
    const auto compiled = Must(engine->Compile(ReadFile(GuestPath(name)), name));
    // Read-only, as a run has it from the cache: a worker could not write to it either.
    const UniqueFd file = Memfd();
    CHECK(::write(file.Get(), compiled.data(), compiled.size()) ==
          static_cast<ssize_t>(compiled.size()));
    modules_.emplace_back(
        ::open(("/proc/self/fd/" + std::to_string(file.Get())).c_str(), O_RDONLY | O_CLOEXEC));
    CHECK(modules_.back().IsOpen());
  }
  workers_.resize(functions);
  zygote_ = Must(host::Zygote::Start(*loop_, BinFolder() / "cwasi-host",
                                     [](const Error& error) { Stop(error.message); }));
}

ManyFunctions::~ManyFunctions() {
  if (zygote_ != nullptr) EndAll();
}

template <class Condition>
void ManyFunctions::Until(Condition condition) {
  const MonotonicNs deadline = DeadlineAfter(Now(), kTimeout);
  while (!condition()) {
    if (Now() >= deadline) Stop("it takes too long");
    loop_->RunOnce(deadline);
  }
}

void ManyFunctions::Start(std::size_t function) {
  const auto id = static_cast<ipc::WorkerId>(function + 1);
  Worker& worker = workers_[function];
  worker.process =
      Must(host::WorkerProcess::Start(*loop_, *zygote_, id, [this, function](const Error& error) {
        Worker& gone = workers_[function];
        const auto& end = gone.process->End();
        if (!end || end->by_signal || end->code != 0) Stop(error.message);
        introducer_.Remove(gone.process->Id());
        gone.gone = true;
      }));
  worker.process->Ask(ipc::Hello{}, {}, kTimeout, Check);
  worker.process->Ask(
      ipc::Configure{.worker_id = id, .payload_budget_bytes = std::uint64_t{8} << 30U}, {},
      kTimeout, Check);
  UniqueFd module(::fcntl(modules_[function % modules_.size()].Get(), F_DUPFD_CLOEXEC, 0));
  if (!module.IsOpen()) Stop("no descriptor for a module");
  worker.process->Ask(ipc::LoadFunction{.id = id,
                                        .name = "f" + std::to_string(function),
                                        .memory_limit_bytes = std::uint64_t{64} << 20U,
                                        .timeout = 10s},
                      std::move(module), kTimeout, [this, function](auto answer) {
                        Check(std::move(answer));
                        Meet(function);
                      });
}

// The worker's answer may overtake the zygote's, which brings the pidfd.
void ManyFunctions::Meet(std::size_t function) {
  Worker& worker = workers_[function];
  const int pidfd = zygote_->PidFd(worker.process->Id());
  if (pidfd < 0) {
    CHECK(loop_->Post([this, function] { Meet(function); }));
    return;
  }
  if (auto added = introducer_.Add({.id = worker.process->Id(),
                                    .trust_domain = 0,
                                    .functions = {static_cast<std::uint32_t>(function + 1)},
                                    .pidfd = pidfd},
                                   worker.process->TakeIntroductions());
      !added)
    Stop(added.error().message);
  worker.ready_at = Now();
  ++ready_;
}

std::vector<MonotonicNs> ManyFunctions::StartAll() {
  const MonotonicNs start = Now();
  for (std::size_t f = 0; f < workers_.size(); ++f) Start(f);
  Until([&] { return ready_ == workers_.size(); });
  std::vector<MonotonicNs> durations;
  durations.reserve(workers_.size());
  for (const Worker& worker : workers_) durations.push_back(worker.ready_at - start);
  return durations;
}

std::vector<MonotonicNs> ManyFunctions::CallEach() {
  std::vector<MonotonicNs> durations;
  durations.reserve(workers_.size());
  for (std::size_t f = 0; f < workers_.size(); ++f) {
    host::WorkerProcess& process = *workers_[f].process;
    const std::uint64_t request = last_value_ * 0x2545f4914f6cdd1dULL + f;
    const std::uint64_t value = ++last_value_;
    const std::uint64_t result = ++last_value_;
    UniqueFd in = Memfd();
    UniqueFd out = Memfd();
    UniqueFd out_there(::fcntl(out.Get(), F_DUPFD_CLOEXEC, 0));
    CHECK(::pwrite(in.Get(), &request, sizeof request, 0) == sizeof request);
    bool done = false;
    const MonotonicNs start = Now();
    process.Ask(ipc::ReadFile{.value_id = value, .name = "in"}, std::move(in), kTimeout, Check);
    process.Ask(ipc::Invoke{.function_id = process.Id(),
                            .request_id = value,
                            .result_value_id = result,
                            .timeout = 10s,
                            .step = "step",
                            .parts = {{.value_id = value,
                                       .pass = ipc::Pass::kMove,
                                       .name = "in",
                                       .producer = "in"}},
                            .metadata = {}},
                {}, kTimeout, Check);
    process.Ask(ipc::WriteFile{.value_id = result}, std::move(out_there), kTimeout, Check);
    process.Ask(ipc::Drop{.value_id = result}, {}, kTimeout, [&done](auto answer) {
      Check(std::move(answer));
      done = true;
    });
    Until([&] { return done; });
    durations.push_back(Now() - start);
    std::uint64_t answer = 0;
    CHECK(::pread(out.Get(), &answer, sizeof answer, 0) == sizeof answer);
    if (answer != variant_answer(1 + f % modules_.size(), request))
      Stop("function " + std::to_string(f) + " gave a wrong answer");
  }
  return durations;
}

void ManyFunctions::EndAll() {
  ending_ = true;
  for (Worker& worker : workers_)
    if (worker.process != nullptr && !worker.gone)
      worker.process->Ask(ipc::Shutdown{}, {}, kTimeout, Check);
  Until([&] {
    for (const Worker& worker : workers_)
      if (worker.process != nullptr && !worker.gone) return false;
    return true;
  });
  workers_.clear();
  const auto end = zygote_->Stop(std::chrono::seconds(30));
  if (end.by_signal || end.code != 0) Stop("the zygote " + os::Describe(end));
  zygote_.reset();
}

std::vector<pid_t> ManyFunctions::Processes() const {
  std::vector<pid_t> processes = {zygote_->Pid()};
  processes.reserve(workers_.size() + 1);
  for (const Worker& worker : workers_)
    if (worker.process != nullptr && !worker.gone) processes.push_back(worker.process->Pid());
  return processes;
}

Footprint FootprintOf(const std::vector<pid_t>& processes) {
  Footprint sum;
  for (const pid_t pid : processes) {
    const std::string folder = "/proc/" + std::to_string(pid);
    ++sum.processes;
    sum.threads += Field(folder + "/status", "Threads");
    sum.page_tables_kib += Field(folder + "/status", "VmPTE");
    sum.pss_kib += Field(folder + "/smaps_rollup", "Pss");
    std::error_code unreadable;
    for (auto fd = std::filesystem::directory_iterator(folder + "/fd", unreadable);
         !unreadable && fd != std::filesystem::directory_iterator(); fd.increment(unreadable))
      ++sum.descriptors;
  }
  return sum;
}

}  // namespace cwasi::test
