// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// WorkerProcess: one worker and the control socket to it. Requests are answered by callbacks, in
// order. A worker that breaks the protocol or does not answer in time is killed.
//
// Thread: the loop's. A callback must not destroy the WorkerProcess.
// Ownership: the loop and the zygote outlive it. Destruction kills a worker that lives.

#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "host/zygote.h"
#include "ipc/control_socket.h"
#include "loop/loop.h"
#include "os/process.h"

namespace cwasi::host {

class WorkerProcess {
 public:
  // kUnavailable: the worker has ended, and End() says how; kDeadlineExceeded: it was killed for
  // not answering this request; kInvalidArgument: it broke the protocol and was killed, or the
  // request was out of the protocol's limits and was not sent.
  using OnAnswer = std::function<void(Result<ipc::ResponseBody>)>;
  // After all answers, once: the worker has ended, by itself or because it was killed.
  using OnGone = std::function<void(const Error&)>;

  // Asks the zygote for the fork. Requests may be made at once: they wait in the socket.
  // Errors: as os::CreatePacketPair, loop::Watch::Create.
  static Result<std::unique_ptr<WorkerProcess>> Start(loop::Loop& loop, Zygote& zygote,
                                                      ipc::WorkerId id, OnGone on_gone);
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;
  WorkerProcess(WorkerProcess&&) = delete;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  ~WorkerProcess();

  [[nodiscard]] ipc::WorkerId Id() const { return id_; }
  [[nodiscard]] pid_t Pid() const { return pid_; }  // 0 until it is forked.
  // cwasi's end of its introductions socket; once.
  [[nodiscard]] UniqueFd TakeIntroductions() { return std::move(introductions_); }

  // `timeout` runs from when all requests before it have been answered. `fd` is open exactly if the
  // type carries one. Nothing is called back if the worker has ended before and told so.
  void Ask(ipc::RequestBody body, UniqueFd fd, std::chrono::nanoseconds timeout,
           OnAnswer on_answer);
  // Requests without an answer.
  [[nodiscard]] std::size_t Outstanding() const { return sent_.size() + waiting_.size(); }

  // SIGKILL; the rest comes by the callbacks.
  void Kill();
  // How it ended, once OnGone has been called and it is known.
  [[nodiscard]] const std::optional<os::ProcessEnd>& End() const { return end_; }

 private:
  struct Sent {
    std::size_t bytes = 0;
    std::chrono::nanoseconds timeout{};
    OnAnswer on_answer;
  };
  struct Waiting {
    ipc::RequestBody body;
    UniqueFd fd;
    std::chrono::nanoseconds timeout{};
    OnAnswer on_answer;
  };
  WorkerProcess(loop::Loop& loop, Zygote& zygote, ipc::WorkerId id, ipc::ControlClient control,
                UniqueFd introductions, OnGone on_gone);

  void OnForked(Result<pid_t> forked);
  void OnReady();
  void Pump();
  void ArmForFront();
  void BeginEnd(Error error);
  void Finish();

  Zygote& zygote_;
  ipc::WorkerId id_;
  ipc::ControlClient control_;
  UniqueFd introductions_;
  OnGone on_gone_;
  pid_t pid_ = 0;
  std::deque<Sent> sent_;
  std::deque<Waiting> waiting_;
  std::size_t sent_bytes_ = 0;
  std::optional<Error> ending_;  // Why; then only its end is waited for.
  bool gone_ = false;
  std::optional<os::ProcessEnd> end_;
  loop::Timer timer_;  // For the oldest request's answer, or for the end.
  std::unique_ptr<loop::Watch> watch_;
};

}  // namespace cwasi::host
