// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/check.h"
#include "base/errno_text.h"

#ifndef P_PIDFD  // glibc 2.36 has it.
#define P_PIDFD 3
#endif

namespace cwasi::os {
namespace {

// Between fork and exec: async-signal-safe calls only. What fails here is told through `report` as
// errno.
[[noreturn]] void BecomeChild(const ChildProcess::Options& options, pid_t parent, char* const* argv,
                              char* const* envp, int report) {
  const auto fail = [&] {
    const int error = errno;
    [[maybe_unused]] const auto ignored = ::write(report, &error, sizeof error);
    ::_exit(127);
  };
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail();
  // The parent may have died before that took effect.
  if (::getppid() != parent) ::_exit(127);
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP})
    ::sigaction(signal, &by_default, nullptr);
  const int null = ::open("/dev/null", O_RDONLY);
  if (null < 0 || ::dup2(null, 0) < 0) fail();
  // Out of the way of 3 first, as either may be it; `report` closes itself at exec.
  const int high_report = ::fcntl(report, F_DUPFD_CLOEXEC, 16);
  if (high_report < 0) fail();
  report = high_report;
  if (options.passed_fd >= 0) {
    const int high = ::fcntl(options.passed_fd, F_DUPFD_CLOEXEC, 16);
    if (high < 0 || ::dup2(high, 3) < 0) fail();
  }
  const unsigned first = options.passed_fd >= 0 ? 4 : 3;
  if (::syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) != 0) fail();
  ::execve(argv[0], argv, envp);
  fail();
  ::_exit(127);
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const auto& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::string Describe(const ProcessEnd& end) {
  if (!end.by_signal) return "exited with code " + std::to_string(end.code);
  const char* name = ::sigdescr_np(end.code);
  return "killed by signal " + std::to_string(end.code) +
         (name == nullptr ? "" : " (" + std::string(name) + ")");
}

Result<ChildProcess> ChildProcess::Start(const Options& options) {
  std::vector<std::string> arguments = {options.path};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  const auto argv = Pointers(arguments);
  const auto envp = Pointers(options.environment);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return Fail(ErrorCode::kResourceExhausted, "start " + options.path + ": pipe", errno);
  const UniqueFd report_in(ends[0]);
  UniqueFd report_out(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0)
    return Fail(ErrorCode::kResourceExhausted, "start " + options.path + ": fork", errno);
  if (pid == 0) BecomeChild(options, parent, argv.data(), envp.data(), report_out.Get());
  report_out.Reset();
  // Our own child that nobody else reaps: the number is still its.
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const int pidfd_errno = errno;
  int error = 0;
  ssize_t n = 0;
  do n = ::read(report_in.Get(), &error, sizeof error);
  while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof error) || !pidfd.IsOpen()) {
    if (n != static_cast<ssize_t>(sizeof error)) error = pidfd_errno;
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    const ErrorCode code = error == ENOENT                     ? ErrorCode::kNotFound
                           : error == EACCES || error == EPERM ? ErrorCode::kPermissionDenied
                                                               : ErrorCode::kResourceExhausted;
    return Fail(code, "start " + options.path + ": " + ErrnoText(error), error);
  }
  return ChildProcess(pid, std::move(pidfd));
}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    KillAndReap();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    end_ = other.end_;
  }
  return *this;
}

std::optional<ProcessEnd> ChildProcess::Wait(MonotonicNs deadline) {
  if (end_.has_value() || pid_ < 0) return end_;
  for (;;) {
    pollfd ended{.fd = pidfd_.Get(), .events = POLLIN, .revents = 0};
    const MonotonicNs left = deadline == kNoDeadline ? 3'600'000'000'000 : deadline - Now();
    const int n = ::poll(
        &ended, 1, static_cast<int>(std::clamp<MonotonicNs>(left / 1'000'000 + 1, 0, 3'600'000)));
    if (n > 0) break;
    if (n == 0 && Now() >= deadline) return std::nullopt;
  }
  siginfo_t info{};
  while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.Get()), &info,
                  WEXITED) != 0)
    CHECK(errno == EINTR);
  end_ = ProcessEnd{.by_signal = info.si_code != CLD_EXITED, .code = info.si_status};
  return end_;
}

void ChildProcess::Kill() {
  if (!end_.has_value() && pid_ >= 0)
    ::syscall(SYS_pidfd_send_signal, pidfd_.Get(), SIGKILL, nullptr, 0);
}

void ChildProcess::KillAndReap() {
  if (pid_ < 0) return;
  Kill();
  // A killed process ends but for a kernel bug or an uninterruptible wait; leaving a zombie is the
  // better end.
  Wait(DeadlineAfter(Now(), std::chrono::seconds(10)));
  pid_ = -1;
}

}  // namespace cwasi::os
