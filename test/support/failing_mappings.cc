// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "test/support/failing_mappings.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include "base/check.h"

namespace cwasi::test {
namespace {

struct Report {  // Shared with the parent.
  std::atomic<std::size_t> calls;
  std::atomic<bool> injected;
};

int InstallFilter() {
  std::array<sock_filter, 5> code = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  const long fd =
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  CHECK(fd >= 0);
  return static_cast<int>(fd);
}

void Supervise(const std::atomic<int>& listener, std::uintptr_t from, std::size_t bytes,
               std::size_t nth, Damage damage, Report& report) {
  while (listener.load() < 0) std::this_thread::yield();
  for (;;) {
    seccomp_notif request{};
    if (::ioctl(listener.load(), SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) continue;
    const bool remap = request.data.nr == SYS_mremap;
    const std::uintptr_t target = remap ? request.data.args[4] : request.data.args[0];
    const bool fixed = remap || (request.data.args[3] & MAP_FIXED) != 0;
    seccomp_notif_resp answer{};
    answer.id = request.id;
    answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (fixed && target >= from && target < from + bytes && ++report.calls == nth) {
      // This thread is not filtered.
      if (damage == Damage::kTargetUnmapped && remap)
        ::munmap(reinterpret_cast<void*>(target), request.data.args[1]);
      answer.flags = 0;
      answer.error = -ENOMEM;
      report.injected = true;
    }
    ::ioctl(listener.load(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

}  // namespace

ChildResult RunWithFailingMapping(const std::byte* from, std::size_t bytes, std::size_t nth,
                                  Damage damage, const std::function<int()>& body) {
  void* shared =
      ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  auto& report = *new (shared) Report{};
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    std::atomic<int> listener = -1;
    std::thread supervisor([&] {
      Supervise(listener, reinterpret_cast<std::uintptr_t>(from), bytes, nth, damage, report);
    });
    supervisor.detach();  // Ends with the process, which ends below.
    listener = InstallFilter();
    ::_exit(body());
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  ChildResult result{.exited = WIFEXITED(status),
                     .code = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                     .calls = report.calls,
                     .injected = report.injected};
  ::munmap(shared, sizeof(Report));
  return result;
}

}  // namespace cwasi::test
