// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/clone.h"

#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "sandbox/failure.h"

namespace cwasi::sandbox {
namespace {

// Where glibc keeps the number of this thread: it gave the kernel the address at start
// (set_tid_address), and its own fork has the kernel write it there too.
Result<pid_t*> TidAddress() {
#if defined(__SANITIZE_THREAD__)
  // Its own thread may hold a lock at the fork; it must see it coming.
  return Fail(ErrorCode::kUnimplemented, "ThreadSanitizer needs the C library's fork");
#endif
  pid_t* address = nullptr;
  if (::prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0) != 0)
    return FailErrno("ask for the thread's number's address");
  if (address == nullptr || *address != ::gettid())
    return Fail(ErrorCode::kUnimplemented, "this C library keeps a thread's number elsewhere");
  return address;
}

}  // namespace

Result<> CanCloneProcess() {
  TRY_SET([[maybe_unused]] const auto address, TidAddress());
  return {};
}

Result<ClonedProcess> CloneProcess(const CloneOptions& options) {
  TRY_SET(pid_t* const tid, TidAddress());
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags =
      options.flags | std::uint64_t{CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID};
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.child_tid = reinterpret_cast<std::uintptr_t>(tid);
  arguments.exit_signal = SIGCHLD;
  if (options.cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<__u64>(options.cgroup);
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return FailErrno("clone a process");
  if (pid == 0) return ClonedProcess{};
  return ClonedProcess{.pid = static_cast<pid_t>(pid), .pidfd = UniqueFd(pidfd)};
}

}  // namespace cwasi::sandbox
