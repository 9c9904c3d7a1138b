// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "host/worker_process.h"

#include <system_error>
#include <utility>

#include "os/unix_socket.h"

namespace cwasi::host {
namespace {

constexpr std::chrono::seconds kGreetTimeout{10};
// From the end of the socket to the end of the process.
constexpr std::chrono::seconds kEndTimeout{5};

}  // namespace

Result<std::filesystem::path> WorkerProcess::DefaultProgram() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error)
    return Fail(ErrorCode::kNotFound, "find cwasi-host: " + error.message(), error.value());
  auto program = self.parent_path() / "cwasi-host";
  if (!std::filesystem::exists(program, error))
    return Fail(ErrorCode::kNotFound, "no cwasi-host beside " + self.string());
  return program;
}

Result<WorkerProcess> WorkerProcess::Start(const std::filesystem::path& program) {
  TRY_SET(auto pair, os::CreatePacketPair());
  TRY_SET(auto child, os::ChildProcess::Start({.path = program.string(),
                                               .arguments = {},
                                               .passed_fd = pair.second.Get(),
                                               .environment = {}}));
  pair.second.Reset();
  WorkerProcess worker(std::move(child), ipc::ControlClient(std::move(pair.first)));
  TRY_SET(auto answer, worker.Call(ipc::Hello{}, -1, kGreetTimeout));
  auto* hello = std::get_if<ipc::HelloReply>(&answer);
  if (hello == nullptr) return Fail(ErrorCode::kInternal, "the worker did not answer the greeting");
  worker.hello_ = std::move(*hello);
  return worker;
}

Result<ipc::ResponseBody> WorkerProcess::Call(ipc::RequestBody body, int fd,
                                              std::chrono::nanoseconds timeout) {
  auto answer = control_.Call(std::move(body), fd, DeadlineAfter(Now(), timeout));
  if (answer) return answer;
  if (answer.error().code == ErrorCode::kInvalidArgument && end_ == std::nullopt &&
      !child_.Wait(Now()))  // Ours was out of the protocol's limits, or the worker's answer was.
    child_.Kill();
  if (answer.error().code == ErrorCode::kDeadlineExceeded) child_.Kill();
  end_ = child_.Wait(DeadlineAfter(Now(), kEndTimeout));
  if (!end_) {
    child_.Kill();
    end_ = child_.Wait(DeadlineAfter(Now(), kEndTimeout));
  }
  Error error = std::move(answer).error();
  error.message = "worker " + std::to_string(child_.Pid()) + " " +
                  (end_ ? os::Describe(*end_) : "does not end") + ": " + error.message;
  return tl::unexpected(std::move(error));
}

Result<> WorkerProcess::Do(ipc::RequestBody body, int fd, std::chrono::nanoseconds timeout) {
  TRY_SET(auto answer, Call(std::move(body), fd, timeout));
  if (auto* error = std::get_if<Error>(&answer)) return tl::unexpected(std::move(*error));
  if (!std::holds_alternative<ipc::Done>(answer))
    return Fail(ErrorCode::kInternal, "the worker gave an answer of another kind");
  return {};
}

os::ProcessEnd WorkerProcess::Stop(std::chrono::nanoseconds timeout) {
  if (!end_ && Do(ipc::Shutdown{}, -1, timeout)) end_ = child_.Wait(DeadlineAfter(Now(), timeout));
  if (!end_) {
    child_.Kill();
    end_ = child_.Wait(DeadlineAfter(Now(), kEndTimeout));
  }
  return end_.value_or(os::ProcessEnd{.by_signal = true, .code = 9});
}

}  // namespace cwasi::host
