// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// WorkerProcess: one cwasi-host child and the control socket to it.
//
// Thread: the one that started it.

#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "ipc/control_socket.h"
#include "os/process.h"

namespace cwasi::host {

class WorkerProcess {
 public:
  // cwasi-host beside the running program. Errors: kNotFound.
  static Result<std::filesystem::path> DefaultProgram();

  // Starts `program` and greets it. Errors: as os::ChildProcess::Start, ipc::ControlClient;
  // kUnavailable: it ended at once, the message says how.
  static Result<WorkerProcess> Start(const std::filesystem::path& program);

  [[nodiscard]] const ipc::HelloReply& Hello() const { return hello_; }
  [[nodiscard]] pid_t Pid() const { return child_.Pid(); }
  // Readable when the worker has ended.
  [[nodiscard]] int PidFd() const { return child_.PidFd(); }

  // One request, one answer. A worker that ended meanwhile gives kUnavailable, and End() says how;
  // one that does not answer in time is killed and gives kDeadlineExceeded.
  Result<ipc::ResponseBody> Call(ipc::RequestBody body, int fd, std::chrono::nanoseconds timeout);
  // The same where only Done is a good answer.
  Result<> Do(ipc::RequestBody body, int fd, std::chrono::nanoseconds timeout);

  // Asks it to end and waits; kills it after `timeout`.
  os::ProcessEnd Stop(std::chrono::nanoseconds timeout);
  // How it ended, once Call has failed.
  [[nodiscard]] const std::optional<os::ProcessEnd>& End() const { return end_; }

 private:
  WorkerProcess(os::ChildProcess child, ipc::ControlClient control)
      : child_(std::move(child)), control_(std::move(control)) {}

  os::ChildProcess child_;
  ipc::ControlClient control_;
  ipc::HelloReply hello_;
  std::optional<os::ProcessEnd> end_;
};

}  // namespace cwasi::host
