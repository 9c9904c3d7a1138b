// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The workers of one run: forks them, gives each the functions of its group, lets them meet, and
// starts one again, later each time, when it ended with nothing to lose.
//
// Thread: the loop's. Events must not destroy the Workers.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "host/backoff.h"
#include "host/introducer.h"
#include "host/worker_process.h"
#include "host/zygote.h"
#include "ipc/control.h"
#include "loop/loop.h"
#include "workflow/load.h"
#include "workflow/placement.h"

namespace cwasi::workflow {

class Workers {
 public:
  struct Options {
    std::filesystem::path host_program;
    ipc::PayloadPolicy payload = ipc::PayloadPolicy::kAuto;
    std::uint64_t payload_budget_bytes = 0;
  };
  // None may be empty.
  struct Events {
    // It has its functions, and waits for work and can be introduced once this has returned.
    std::function<void(ipc::WorkerId, std::uint32_t group)> up;
    // No further worker can be had; the group may have others.
    std::function<void(std::uint32_t group, const Error&)> start_failed;
    // It has ended. False: the run cannot go on without it.
    std::function<bool(ipc::WorkerId)> lost;
    // A guest wants to call into a group without workers, or (kAnother) into one whose workers that
    // it knows are busy. False: there is not to be one more.
    std::function<bool(std::uint32_t group, ipc::WantedWorker worker)> need;
    // The run cannot go on; `where` may be empty.
    std::function<void(const std::string& where, const Error&)> failed;
  };

  // All references outlive it; `modules` are opened, one for each function.
  Workers(loop::Loop& loop, const Loaded& loaded, const Placement& placement,
          const std::vector<UniqueFd>& modules, Options options, Events events);

  // Errors: as host::Zygote::Start.
  Result<> StartZygote();
  // One more for the group; `up` or `start_failed` follows, or `failed`.
  void Start(std::uint32_t group);

  // Only those that were up, also when they have ended since; null for others.
  [[nodiscard]] host::WorkerProcess* Find(ipc::WorkerId id) const;
  // Whether this is the first call of the function there: its module may still have to be loaded.
  bool IsFirstUse(ipc::WorkerId id, std::uint32_t function);
  Result<> Introduce(ipc::WorkerId caller, ipc::WorkerId callee) {
    return introducer_.Introduce(caller, callee);
  }
  void SetOutstanding(ipc::WorkerId id, std::size_t calls) {
    introducer_.SetOutstanding(id, calls);
  }
  [[nodiscard]] std::vector<ipc::WorkerId> Live() const;
  // What the first one said of the machine.
  [[nodiscard]] const std::optional<ipc::HelloReply>& Machine() const { return machine_; }
  [[nodiscard]] std::size_t Started() const { return started_; }
  // What is around them, in one line for people.
  [[nodiscard]] const std::string& Sandbox() const { return zygote_->Sandbox(); }

  // Asks all to end and runs the loop until they have; no more events.
  void Shutdown(std::chrono::nanoseconds timeout);

 private:
  struct Worker {
    std::unique_ptr<host::WorkerProcess> process;
    std::uint32_t group = 0;
    bool up = false;
    bool gone = false;
    std::vector<bool> used = {};  // By place in the group.
  };
  struct GroupState {
    bool has_started = false;
    host::Backoff backoff;
    MonotonicNs not_before = 0;
    std::uint32_t delayed = 0;  // Starts that wait for it.
    std::unique_ptr<loop::Timer> timer;
  };

  void Fork(std::uint32_t group);
  void Prepare(ipc::WorkerId id);
  void Ask(ipc::WorkerId id, ipc::RequestBody body, UniqueFd fd, std::chrono::nanoseconds timeout,
           std::string where, std::function<void(ipc::ResponseBody&)> on_done);
  void Up(ipc::WorkerId id);
  void Gone(ipc::WorkerId id, const Error& error);
  void Delay(std::uint32_t group, const Error& error);
  void StartFailed(std::uint32_t group, const Error& error);
  [[nodiscard]] bool MayCall(const host::Introducer::Member& caller, std::uint32_t function) const;

  loop::Loop& loop_;
  const Loaded& loaded_;
  const Placement& placement_;
  const std::vector<UniqueFd>& modules_;
  Options options_;
  Events events_;
  std::vector<GroupState> groups_;
  host::Introducer introducer_;
  std::unique_ptr<host::Zygote> zygote_;
  std::unordered_map<ipc::WorkerId, Worker> workers_;
  std::optional<ipc::HelloReply> machine_;
  ipc::WorkerId last_id_ = 0;
  std::size_t started_ = 0;
  bool ending_ = false;
};

}  // namespace cwasi::workflow
