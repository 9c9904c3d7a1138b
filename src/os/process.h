// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// ChildProcess: sole owner of a child, by its pidfd, so that a recycled number is never signalled.

#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::os {

// How a process ended.
struct ProcessEnd {
  bool by_signal = false;
  int code = 0;  // Exit code, or the signal.
};
// "exited with code 3", "killed by signal 9 (Killed)".
std::string Describe(const ProcessEnd& end);

// Destruction kills a live child and reaps it: a child never outlives its owner.
// Thread: the one that started it; the child dies with that thread (prctl(2), PR_SET_PDEATHSIG).
class ChildProcess {
 public:
  struct Options {
    std::string path;                    // Of the program; not searched for.
    std::vector<std::string> arguments;  // Without the program's name.
    int passed_fd = -1;                  // Becomes descriptor 3 of the child; not consumed.
    std::vector<std::string> environment;
  };
  // The child has standard input from /dev/null, our standard output and error, descriptor 3 and no
  // others, an empty signal mask, and is killed when we die. It is in a process group of its own,
  // so that an interrupt from the terminal reaches only us, who then end it. Errors: kNotFound,
  // kPermissionDenied (the program), kResourceExhausted.
  static Result<ChildProcess> Start(const Options& options);
  ChildProcess(ChildProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), end_(other.end_) {}
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() { KillAndReap(); }

  [[nodiscard]] pid_t Pid() const { return pid_; }
  // Readable when the child has ended.
  [[nodiscard]] int PidFd() const { return pidfd_.Get(); }
  // Reaps it. Absent: it still runs at the deadline.
  std::optional<ProcessEnd> Wait(MonotonicNs deadline);
  // SIGKILL; Wait tells the rest.
  void Kill();

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  void KillAndReap();

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::optional<ProcessEnd> end_;
};

}  // namespace cwasi::os
