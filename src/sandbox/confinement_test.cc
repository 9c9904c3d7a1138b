// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/confinement.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/cgroups.h"
#include "test/support/confined.h"
#include "test/support/temp_dir.h"

namespace cwasi::sandbox {
namespace {

using test::Describe;
using test::Holds;
using test::InZygote;
using test::RunConfined;
using test::SayTo;
using test::StartWorker;
using test::User;

class ConfinementTest : public test::AsUserTest {};
INSTANTIATE_TEST_SUITE_P(As, ConfinementTest, testing::Values(User::kRoot, User::kOrdinary),
                         [](const auto& user) { return test::NameOf(user.param); });

// What a worker does all its life.
TEST_P(ConfinementTest, AWorkerCanDoWhatAWorkerDoes) {
  const auto outcome = RunConfined(GetParam(), {}, [](int out) {
    const UniqueFd segment(::memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    CHECK(segment.IsOpen() && ::ftruncate(segment.Get(), 1 << 21) == 0);
    CHECK(::fcntl(segment.Get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, 1 << 21, PROT_READ | PROT_WRITE, MAP_SHARED, segment.Get(), 0));
    CHECK(memory != MAP_FAILED);
    memory[5] = 'x';
    void* moved = ::mremap(memory, 1 << 21, 1 << 21, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && static_cast<char*>(moved)[5] == 'x');
    void* code = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED && ::mprotect(code, 4096, PROT_READ | PROT_EXEC) == 0);
    int sum = 0;
    std::thread thread([&] { sum = 42; });
    thread.join();
    pollfd nothing{.fd = -1, .events = 0, .revents = 0};
    CHECK(::poll(&nothing, 1, 1) == 0);
    struct stat status{};
    CHECK(::fstat(segment.Get(), &status) == 0 && status.st_size == 1 << 21);
    SayTo(out, "done " + std::to_string(sum));
  });
  EXPECT_TRUE(outcome.Exited(0)) << Describe(outcome);
  EXPECT_EQ(outcome.said, "done 42");
}

struct Forbidden {
  const char* name;
  void (*act)();
};
template <class... Arguments>
void Call(long number, Arguments... arguments) {
  ::syscall(number, arguments...);
}
const std::vector<Forbidden>& ForbiddenCalls() {
  static const std::vector<Forbidden> calls = {
      {"socket", [] { Call(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"unix socket", [] { Call(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }},
      {"socketpair", [] { Call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, nullptr); }},
      {"connect", [] { Call(SYS_connect, 1, nullptr, 0); }},
      {"bind", [] { Call(SYS_bind, 1, nullptr, 0); }},
      {"sendto an address", [] { Call(SYS_sendto, 1, "x", 1, 0, "address", 7); }},
#if defined(__x86_64__)
      {"open", [] { Call(SYS_open, "/etc/passwd", O_RDONLY); }},
      {"fork", [] { Call(SYS_fork); }},
      {"vfork", [] { Call(SYS_fork); }},
      {"stat", [] { Call(SYS_stat, "/", nullptr); }},
      {"ioperm", [] { Call(SYS_ioperm, 0, 1, 1); }},
      // The other ways into the kernel of an x86-64 process are other tables of calls.
      {"x32 getpid", [] { Call(0x40000000 | SYS_getpid); }},
      {"i386 getpid", [] { asm volatile("int $0x80"
                                        :
                                        : "a"(20)
                                        : "memory"); }},
#endif
      {"openat2", [] { Call(SYS_openat2, AT_FDCWD, "/", nullptr, 0); }},
      {"open_by_handle_at", [] { Call(SYS_open_by_handle_at, -1, nullptr, 0); }},
      {"unlinkat", [] { Call(SYS_unlinkat, AT_FDCWD, "/x", 0); }},
      {"mkdirat", [] { Call(SYS_mkdirat, AT_FDCWD, "/x", 0700); }},
      {"execve", [] { Call(SYS_execve, "/bin/true", nullptr, nullptr); }},
      {"execveat", [] { Call(SYS_execveat, 1, "", nullptr, nullptr, AT_EMPTY_PATH); }},
      {"clone of a process", [] { Call(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0); }},
      {"clone of a namespace",
       [] { Call(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, 0); }},
      {"kill", [] { Call(SYS_kill, ::getppid(), 0); }},
      {"tgkill of another", [] { Call(SYS_tgkill, 2, 2, 0); }},
      {"tkill", [] { Call(SYS_tkill, 1, 0); }},
      {"rt_sigqueueinfo", [] { Call(SYS_rt_sigqueueinfo, 1, 0, nullptr); }},
      {"pidfd_open", [] { Call(SYS_pidfd_open, 1, 0); }},
      {"pidfd_send_signal", [] { Call(SYS_pidfd_send_signal, 1, 0, nullptr, 0); }},
      {"pidfd_getfd", [] { Call(SYS_pidfd_getfd, 1, 0, 0); }},
      {"ptrace", [] { Call(SYS_ptrace, PTRACE_TRACEME, 0, nullptr, nullptr); }},
      {"process_vm_readv", [] { Call(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0); }},
      {"process_vm_writev", [] { Call(SYS_process_vm_writev, 1, nullptr, 0, nullptr, 0, 0); }},
      {"process_madvise", [] { Call(SYS_process_madvise, 1, nullptr, 0, 0, 0); }},
      {"kcmp", [] { Call(SYS_kcmp, 1, 1, 0, 0, 0); }},
      {"mount", [] { Call(SYS_mount, nullptr, "/", nullptr, MS_REC, nullptr); }},
      {"umount2", [] { Call(SYS_umount2, "/", MNT_DETACH); }},
      {"fsopen", [] { Call(SYS_fsopen, "tmpfs", 0); }},
      {"pivot_root", [] { Call(SYS_pivot_root, ".", "."); }},
      {"chroot", [] { Call(SYS_chroot, "/"); }},
      {"unshare", [] { Call(SYS_unshare, CLONE_NEWUSER); }},
      {"setns", [] { Call(SYS_setns, 1, 0); }},
      {"setuid", [] { Call(SYS_setuid, 0); }},
      {"capset", [] { Call(SYS_capset, nullptr, nullptr); }},
      {"setrlimit",
       [] {
         const rlimit limit{};
         Call(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, nullptr);
       }},
      {"limits of another",
       [] {
         rlimit limit{};
         Call(SYS_prlimit64, 2, RLIMIT_NOFILE, nullptr, &limit);
       }},
      {"writable and executable memory",
       [] {
         Call(SYS_mmap, nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
       }},
      {"executable memory made writable",
       [] {
         void* page = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         Call(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
       }},
      {"userfaultfd", [] { Call(SYS_userfaultfd, 0); }},
      {"io_uring_setup", [] { Call(SYS_io_uring_setup, 1, nullptr); }},
      {"bpf", [] { Call(SYS_bpf, 0, nullptr, 0); }},
      {"perf_event_open", [] { Call(SYS_perf_event_open, nullptr, 0, 0, 0, 0); }},
      {"keyctl", [] { Call(SYS_keyctl, 0, 0); }},
      {"shmget", [] { Call(SYS_shmget, 1, 4096, 0600); }},
      {"inotify_init1", [] { Call(SYS_inotify_init1, 0); }},
      {"F_SETOWN", [] { Call(SYS_fcntl, 1, F_SETOWN, 1); }},
      {"F_NOTIFY", [] { Call(SYS_fcntl, 1, F_NOTIFY, 0); }},
      {"a filter of its own", [] { Call(SYS_seccomp, 1, 0, nullptr); }},
      {"reboot", [] { Call(SYS_reboot, 0, 0, 0, nullptr); }},
      {"a call there is not yet", [] { Call(1023); }},
  };
  return calls;
}

TEST_P(ConfinementTest, EachCallOffTheListEndsTheWorker) {
  // One zygote for all, as in a run. A line for each that was not killed.
  const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
    for (const Forbidden& call : ForbiddenCalls()) {
      const auto worker = StartWorker(confinement, out, {}, [&](int) { call.act(); });
      const int status = test::Reap(worker.pid);
      if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
        SayTo(out, std::string(call.name) + " ended with " + std::to_string(status) + "\n");
    }
    SayTo(out, "all tried");
  });
  EXPECT_EQ(outcome.said, "all tried");
}

TEST_P(ConfinementTest, CallsThatLibrariesTryGetAnErrorInstead) {
  const auto outcome = RunConfined(GetParam(), {}, [](int out) {
    std::string said;
    const auto tried = [&](long result) { said += std::to_string(result == 0 ? 0 : errno) + " "; };
    tried(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    tried(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
    tried(::open("/proc/self/fd/2", O_RDWR | O_CLOEXEC));
    tried(::open("/proc/self/fd/2x", O_RDONLY | O_CLOEXEC));
    tried(::open("/proc/self/fd/9999", O_RDONLY | O_CLOEXEC));
    struct stat status{};
    tried(::stat("/etc", &status));
    tried(::syscall(SYS_statx, 0, "", 0, 0, nullptr));
    tried(::syscall(SYS_clone3, nullptr, 0));
    tried(::isatty(2) == 1 ? 0 : -1);
    tried(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    SayTo(out, said);
  });
  EXPECT_TRUE(outcome.Exited(0)) << Describe(outcome);
  const auto text = [](std::vector<int> errors) {
    std::string expected;
    for (const int error : errors) expected += std::to_string(error) + " ";
    return expected;
  };
  EXPECT_EQ(outcome.said,
            text({ENOENT, ENOENT, EACCES, ENOENT, EBADF, ENOENT, ENOSYS, ENOSYS, ENOTTY, EINVAL}));
}

TEST_P(ConfinementTest, AModuleIsLoadedByThePathOfItsDescriptor) {
  const test::TempDir folder;
  const auto path = folder.Path() / "module";
  std::ofstream(path) << "compiled";
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(file.IsOpen());
  const auto outcome = InZygote(GetParam(), {}, [&](Confinement& confinement, int out) {
    auto child = confinement.Fork({});
    CHECK(child.has_value());
    if (child->pid == 0) {
      CHECK(confinement.Enter(std::move(*child), std::array{out, file.Get()}));
      const std::string name = "/proc/self/fd/" + std::to_string(file.Get());
      struct stat status{};
      CHECK(::stat(name.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 8);
      const UniqueFd opened(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
      CHECK(opened.IsOpen() && opened.Get() != file.Get());
      void* mapped = ::mmap(nullptr, 8, PROT_READ | PROT_WRITE, MAP_PRIVATE, opened.Get(), 0);
      CHECK(mapped != MAP_FAILED && ::mprotect(mapped, 8, PROT_READ | PROT_EXEC) == 0);
      SayTo(out, std::string(static_cast<const char*>(mapped), 8));
      ::_exit(0);
    }
    CHECK(test::Reap(child->pid) == 0);
  });
  EXPECT_EQ(outcome.said, "compiled") << Describe(outcome);
}

// Makes the caller root of a user namespace that has no other user, as `unshare --user
// --map-root-user` does. False: not allowed here.
bool BecomeOnlyRoot() {
  const auto write = [](const char* path, const std::string& text) {
    const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
    return ::write(file.Get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  };
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  return ::unshare(CLONE_NEWUSER) == 0 && write("/proc/self/setgroups", "deny") &&
         write("/proc/self/uid_map", "0 " + uid + " 1") &&
         write("/proc/self/gid_map", "0 " + gid + " 1");
}

TEST_P(ConfinementTest, RootThatCanBeNoOtherUserHasWorkersAllTheSame) {
  const auto outcome = test::InChild(GetParam(), [](int out) {
    if (!BecomeOnlyRoot()) {
      SayTo(out, "no user namespaces");
      return;
    }
    auto confinement = Confinement::Prepare({.with_cgroups = false});
    if (!confinement) {
      SayTo(out, confinement.error().message);
      return;
    }
    const auto worker =
        StartWorker(*confinement, out, {}, [](int to) { SayTo(to, "it runs, as "); });
    CHECK(test::Reap(worker.pid) == 0);
    SayTo(out, Holds(*confinement, "unprivileged user") ? "another user" : "the same user");
  });
  if (outcome.said == "no user namespaces") GTEST_SKIP() << outcome.said;
  EXPECT_EQ(outcome.said, "it runs, as the same user");
}

TEST_P(ConfinementTest, AfterTheSecondStageNoThreadCanBeMade) {
  const auto outcome = InZygote(GetParam(), {}, [](Confinement& confinement, int out) {
    for (const bool serving : {false, true}) {
      const auto worker = StartWorker(confinement, out, {}, [&](int) {
        std::atomic<bool> stop = false;
        std::thread first([&] {
          while (!stop) std::this_thread::yield();
        });
        if (serving) CHECK(confinement.EnterServing());
        stop = true;
        first.join();
        std::thread([] {}).join();
      });
      SayTo(out, std::to_string(test::Reap(worker.pid)) + " ");
    }
  });
  EXPECT_EQ(outcome.said, "0 " + std::to_string(SIGSYS) + " ");
}

}  // namespace
}  // namespace cwasi::sandbox
