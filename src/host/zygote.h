// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Zygote: the cwasi-host process that all workers are forked from, and a pidfd of each of them.
//
// Source: docs/protocols/zygote.md.
// Thread: the loop's. Callbacks must not destroy the Zygote.
//
// When it dies the kernel kills the workers. While it lives orphaned workers become this process's
// children (PR_SET_CHILD_SUBREAPER), so that none is left behind, not even as a zombie.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "ipc/zygote_message.h"
#include "loop/loop.h"
#include "os/process.h"

namespace cwasi::host {

class Zygote {
 public:
  using OnForked = std::function<void(Result<pid_t>)>;
  using OnEnded = std::function<void(const os::ProcessEnd&)>;
  // Called once, if it ends before Stop: every worker is gone with it.
  using OnDeath = std::function<void(const Error&)>;

  // cwasi-host beside the running program. Errors: kNotFound.
  static Result<std::filesystem::path> DefaultProgram();

  // Starts `program` and waits until it can fork, 10 s at most. Raises this process's limit of open
  // descriptors as far as it may: a worker takes three. Errors: as os::ChildProcess::Start;
  // kUnavailable: it ended at once, the message says how; kDeadlineExceeded.
  static Result<std::unique_ptr<Zygote>> Start(loop::Loop& loop,
                                               const std::filesystem::path& program,
                                               OnDeath on_death);
  Zygote(const Zygote&) = delete;
  Zygote& operator=(const Zygote&) = delete;
  Zygote(Zygote&&) = delete;
  Zygote& operator=(Zygote&&) = delete;
  ~Zygote();

  [[nodiscard]] pid_t Pid() const { return child_.Pid(); }
  // What is around its workers, in one line for people.
  [[nodiscard]] const std::string& Sandbox() const { return sandbox_; }

  // Forks a worker with these two sockets. `on_forked` comes once, unless the zygote dies first;
  // `on_ended` once after it went well, if not forgotten. Errors of on_forked: kResourceExhausted.
  // Any number at once: a few are with the zygote, the others wait here.
  // Ids are never used twice.
  void Fork(ipc::WorkerId id, UniqueFd control, UniqueFd introductions, OnForked on_forked,
            OnEnded on_ended);
  // SIGKILL. Nothing if it is not forked yet or has ended.
  void Kill(ipc::WorkerId id) const;
  // No more callbacks for it.
  void Forget(ipc::WorkerId id);
  // Of a worker that lives; readable when it has ended. -1 for others.
  [[nodiscard]] int PidFd(ipc::WorkerId id) const;

  // Ends the workers that live, then itself, and waits for all of them; kills after `timeout`.
  os::ProcessEnd Stop(std::chrono::nanoseconds timeout);

 private:
  struct Worker {
    OnForked on_forked;
    OnEnded on_ended;
    UniqueFd pidfd;
  };
  Zygote(loop::Loop& loop, os::ChildProcess child, ipc::ZygoteSocket socket, OnDeath on_death);

  Result<> Greet();
  void OnReady();
  Result<> Handle(ipc::ZygoteSocket::Incoming incoming);
  Result<> OnAnswer(ipc::WorkerId id, Result<pid_t> answer, UniqueFd pidfd);
  void AwaitAnswer();
  void SendWaiting();
  void Died(const Error& error);
  void ReapOrphans();

  os::ChildProcess child_;
  ipc::ZygoteSocket socket_;
  OnDeath on_death_;
  std::string sandbox_;
  int subreaper_before_ = 0;
  bool over_ = false;
  // To be sent when fewer are unanswered.
  struct Waiting {
    ipc::WorkerId id = 0;
    UniqueFd control;
    UniqueFd introductions;
  };
  std::deque<Waiting> waiting_;        // No more than the caller has workers.
  std::deque<ipc::WorkerId> forking_;  // Unanswered, in order.
  std::unordered_map<ipc::WorkerId, Worker> workers_;
  loop::Timer answer_timer_;
  std::unique_ptr<loop::Watch> watch_;
};

}  // namespace cwasi::host
