// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/workers.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/errno_text.h"

namespace cwasi::workflow {
namespace {

constexpr std::chrono::seconds kRequestTimeout{30};
// Beyond a function's own timeout, in which its first instance starts.
constexpr std::chrono::seconds kSlack{5};
constexpr std::uint32_t kTrustDomain = 0;  // A workflow is one.

}  // namespace

Workers::Workers(loop::Loop& loop, const Loaded& loaded, const Placement& placement,
                 const std::vector<UniqueFd>& modules, Options options, Events events)
    : loop_(loop),
      loaded_(loaded),
      placement_(placement),
      modules_(modules),
      options_(std::move(options)),
      events_(std::move(events)),
      groups_(placement.groups.size()),
      introducer_(loop,
                  {.may_call = [this](const auto& caller,
                                      std::uint32_t function) { return MayCall(caller, function); },
                   .start_worker =
                       [this](std::uint32_t function, ipc::WantedWorker worker) {
                         return !ending_ && events_.need(placement_.group_of[function], worker);
                       },
                   .broken =
                       [this](ipc::WorkerId id, const Error& error) {
                         // Not now: it is in the middle of the introducer.
                         if (!loop_.Post([this, id] { workers_.at(id).process->Kill(); }))
                           events_.failed("introductions", error);
                       }}) {}

Result<> Workers::StartZygote() {
  TRY_SET(zygote_, host::Zygote::Start(loop_, options_.host_program, [this](const Error& error) {
            if (!ending_) events_.failed("", error);
          }));
  return {};
}

bool Workers::MayCall(const host::Introducer::Member& caller, std::uint32_t function) const {
  if (function >= placement_.group_of.size()) return false;
  // Where it can be embedded it is called in the caller's own worker.
  return loaded_.workflow.functions[function].modes != Modes::kEmbedded &&
         workers_.at(caller.id).group != placement_.group_of[function];
}

void Workers::Start(std::uint32_t group) {
  GroupState& state = groups_[group];
  if (Now() >= state.not_before) return Fork(group);
  ++state.delayed;
  if (state.timer == nullptr) {
    state.timer = std::make_unique<loop::Timer>(loop_, [this, group] {
      for (auto n = std::exchange(groups_[group].delayed, 0); n > 0; --n) Fork(group);
    });
  }
  state.timer->Arm(state.not_before);
}

void Workers::Fork(std::uint32_t group) {
  const ipc::WorkerId id = ++last_id_;
  workers_.emplace(id,
                   Worker{.process = nullptr,
                          .group = group,
                          .used = std::vector<bool>(placement_.groups[group].functions.size())});
  auto process = host::WorkerProcess::Start(loop_, *zygote_, id,
                                            [this, id](const Error& error) { Gone(id, error); });
  if (!process) {
    workers_.erase(id);
    return StartFailed(group, process.error());
  }
  workers_.at(id).process = std::move(*process);
  Prepare(id);
}

// Everything it needs in one go: the answers are looked at as they come.
void Workers::Prepare(ipc::WorkerId id) {
  const std::uint32_t group = workers_.at(id).group;
  // What is wrong with a module shows in the first worker that has it; the others load it when they
  // need it.
  const bool is_first = !std::exchange(groups_[group].has_started, true);
  Ask(id, ipc::Hello{}, {}, kRequestTimeout, "start a worker", [this](ipc::ResponseBody& answer) {
    if (auto* hello = std::get_if<ipc::HelloReply>(&answer); hello != nullptr && !machine_)
      machine_ = std::move(*hello);
  });
  const auto nothing = [](ipc::ResponseBody&) {};
  Ask(id,
      ipc::Configure{.worker_id = id,
                     .payload_budget_bytes = options_.payload_budget_bytes,
                     .payload = options_.payload},
      {}, kRequestTimeout, "configure a worker", nothing);
  for (const std::uint32_t f : placement_.groups[group].functions) {
    const Function& function = loaded_.workflow.functions[f];
    const std::string where =
        "function " + function.name.text + " (" + loaded_.files.modules[f].string() + ")";
    UniqueFd module(::fcntl(modules_[f].Get(), F_DUPFD_CLOEXEC, 0));
    if (!module.IsOpen())
      return events_.failed(where, {.code = ErrorCode::kResourceExhausted,
                                    .sys_errno = errno,
                                    .message = "open the module once more"});
    Ask(id,
        ipc::LoadFunction{.id = f,
                          .name = function.name.text,
                          .memory_limit_bytes = function.memory_limit_bytes,
                          .timeout = function.timeout,
                          .embed = function.IsShared() ? ipc::Embed::kAllow : ipc::Embed::kDeny,
                          .instances = function.instances,
                          .zero = function.zero,
                          .load = is_first ? ipc::Load::kNow : ipc::Load::kFirstUse},
        std::move(module), function.timeout + kSlack, where, nothing);
  }
  ipc::DeclareFunctions elsewhere;
  for (std::uint32_t f = 0; f < placement_.group_of.size(); ++f) {
    const Function& function = loaded_.workflow.functions[f];
    if (placement_.group_of[f] != group && function.modes != Modes::kEmbedded)
      elsewhere.functions.push_back(
          {.id = f, .name = function.name.text, .timeout = function.timeout});
  }
  Ask(id, std::move(elsewhere), {}, kRequestTimeout, "configure a worker",
      [this, id](ipc::ResponseBody&) { Up(id); });
}

void Workers::Ask(ipc::WorkerId id, ipc::RequestBody body, UniqueFd fd,
                  std::chrono::nanoseconds timeout, std::string where,
                  std::function<void(ipc::ResponseBody&)> on_done) {
  workers_.at(id).process->Ask(std::move(body), std::move(fd), timeout,
                               [this, where = std::move(where),
                                on_done = std::move(on_done)](Result<ipc::ResponseBody> answer) {
                                 if (ending_) return;
                                 if (!answer) {
                                   // One that has ended is started again, or Gone says that it is
                                   // not.
                                   if (answer.error().code != ErrorCode::kUnavailable &&
                                       answer.error().code != ErrorCode::kResourceExhausted)
                                     events_.failed(where, answer.error());
                                   return;
                                 }
                                 if (const auto* error = std::get_if<Error>(&*answer))
                                   return events_.failed(where, *error);
                                 on_done(*answer);
                               });
}

void Workers::Up(ipc::WorkerId id) {
  Worker& worker = workers_.at(id);
  if (ending_ || worker.gone) return;
  // The worker's answer may overtake the zygote's, which brings the pidfd.
  if (zygote_->PidFd(id) < 0 && loop_.Post([this, id] { Up(id); })) return;
  const std::uint32_t group = worker.group;
  // Before it meets anybody: it is not one that is being started any more.
  worker.up = true;
  ++started_;
  events_.up(id, group);
  auto added = introducer_.Add({.id = id,
                                .trust_domain = kTrustDomain,
                                .functions = placement_.groups[group].functions,
                                .pidfd = zygote_->PidFd(id)},
                               worker.process->TakeIntroductions());
  if (!added) events_.failed("start a worker", added.error());
}

void Workers::Gone(ipc::WorkerId id, const Error& error) {
  Worker& worker = workers_.at(id);
  worker.gone = true;
  introducer_.Remove(id);
  if (ending_) return;
  const std::uint32_t group = worker.group;
  if (!worker.up) {
    // The fork itself failed: one less to work with.
    if (error.code != ErrorCode::kResourceExhausted) return Delay(group, error);
    return StartFailed(group, error);
  }
  if (!events_.lost(id)) return events_.failed("", error);
  // If it is needed it is started again, but not at once.
  const auto wait = groups_[group].backoff.Next();
  if (!wait) return events_.failed("", error);
  groups_[group].not_before = DeadlineAfter(Now(), *wait);
}

void Workers::StartFailed(std::uint32_t group, const Error& error) {
  for (const std::uint32_t function : placement_.groups[group].functions)
    introducer_.Refuse(function, error.message);
  events_.start_failed(group, error);
}

void Workers::Delay(std::uint32_t group, const Error& error) {
  const auto wait = groups_[group].backoff.Next();
  if (!wait) return events_.failed("start a worker", error);
  groups_[group].not_before = DeadlineAfter(Now(), *wait);
  Start(group);
}

host::WorkerProcess* Workers::Find(ipc::WorkerId id) const {
  const auto worker = workers_.find(id);
  return worker == workers_.end() || !worker->second.up ? nullptr : worker->second.process.get();
}

bool Workers::IsFirstUse(ipc::WorkerId id, std::uint32_t function) {
  Worker& worker = workers_.at(id);
  // Work is being done: its next end is not one of a row.
  groups_[worker.group].backoff.Succeeded();
  const auto& functions = placement_.groups[worker.group].functions;
  const auto place = std::ranges::lower_bound(functions, function) - functions.begin();
  const bool first = !worker.used[static_cast<std::size_t>(place)];
  worker.used[static_cast<std::size_t>(place)] = true;
  return first;
}

std::vector<ipc::WorkerId> Workers::Live() const {
  std::vector<ipc::WorkerId> live;
  for (const auto& [id, worker] : workers_)
    if (worker.up && !worker.gone) live.push_back(id);
  std::ranges::sort(live);
  return live;
}

void Workers::Shutdown(std::chrono::nanoseconds timeout) {
  ending_ = true;
  for (const ipc::WorkerId id : Live())
    workers_.at(id).process->Ask(ipc::Shutdown{}, {}, timeout, [](const auto&) {});
  const MonotonicNs deadline = DeadlineAfter(Now(), timeout);
  while (!Live().empty() && Now() < deadline) loop_.RunOnce(deadline);
}

}  // namespace cwasi::workflow
