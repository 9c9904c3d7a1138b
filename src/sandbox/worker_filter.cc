// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/worker_filter.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/unique_fd.h"
#include "sandbox/failure.h"
#include "sandbox/filter_cache.h"

namespace cwasi::sandbox {
namespace {

// Stands for the worker's own number until SetOwnProcess. Above pid_max (2^22), so no process has
// it, and no other rule compares with it.
constexpr std::uint32_t kOwnProcess = 0x7EDC0DE5;
// The only ioctl: which private pages of a broadcast's view were written. Linux 6.7,
// uapi/linux/fs.h
constexpr std::uint64_t kPagemapScan = 0xC0606610;
// What glibc passes for a thread since 2.4: a thread of this process, never a process.
constexpr std::uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM |
                                       CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS |
                                       CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

struct Rule {
  const char* call;
  std::uint32_t action;
  std::vector<scmp_arg_cmp> when = {};
};

scmp_arg_cmp Is(unsigned argument, std::uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}
scmp_arg_cmp IsNot(unsigned argument, std::uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_NE, .datum_a = value, .datum_b = 0};
}
scmp_arg_cmp Lacks(unsigned argument, std::uint64_t bit) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = bit, .datum_b = 0};
}

// Each with its reason.
std::vector<Rule> StartRules() {
  constexpr std::uint32_t kAllow = SCMP_ACT_ALLOW;
  std::vector<Rule> rules = {
      // Memory of guests, segments, windows; the allocator. Never writable and executable at once:
      // the engine maps a compiled module to write and makes it executable by mprotect.
      {"mmap", kAllow, {Lacks(2, PROT_EXEC)}},
      {"mprotect", kAllow, {Lacks(2, PROT_EXEC)}},
      {"mprotect", kAllow, {Is(2, PROT_READ | PROT_EXEC)}},
      {"munmap", kAllow},
      {"mremap", kAllow},        // Moves the pages of a payload.
      {"madvise", kAllow},       // Drops pages; MADV_DONTFORK, MADV_DONTDUMP on segments.
      {"mincore", kAllow},       // Which pages of a pooled memory to clear.
      {"brk", kAllow},           // The allocator.
      {"memfd_create", kAllow},  // A segment, a ring.
      {"ftruncate", kAllow},     // Its size.
      {"fallocate", kAllow},     // Its pages given back.
      {"fcntl", kAllow, {Is(1, F_DUPFD_CLOEXEC)}},
      {"fcntl", kAllow, {Is(1, F_ADD_SEALS)}},
      {"fcntl", kAllow, {Is(1, F_GET_SEALS)}},  // Is what a peer sent sealed?
      {"fcntl", kAllow, {Is(1, F_GETFL)}},      // Is it read-only?
      {"fcntl", kAllow, {Is(1, F_SETFL)}},      // O_NONBLOCK.
      {"fcntl", kAllow, {Is(1, F_GETFD)}},
      {"fcntl", kAllow, {Is(1, F_SETFD)}},
      {"ioctl", kAllow, {Is(1, kPagemapScan)}},
      // stdio asks whether a descriptor is a terminal: never.
      {"ioctl", SCMP_ACT_ERRNO(ENOTTY), {IsNot(1, kPagemapScan)}},
      // Waiting for and waking other threads and workers.
      {"futex", kAllow},
      {"futex_waitv", kAllow},
      {"membarrier", kAllow},       // The engine, after it made code executable.
      {"sched_yield", kAllow},      // WASI's, and spinning waits.
      {"restart_syscall", kAllow},  // Waits that SIGSTOP and SIGCONT interrupted.
      // Sockets that were there or came over one; there is no call here that makes or binds one.
      {"sendmsg", kAllow},
      {"recvmsg", kAllow},
      {"sendto", kAllow, {Is(4, 0)}},  // send(2): to no other address.
      {"recvfrom", kAllow},
      {"shutdown", kAllow},
      {"getsockopt", kAllow},  // Type and error of a socket.
      {"poll", kAllow},
      {"ppoll", kAllow},
      {"epoll_create1", kAllow},
      {"epoll_ctl", kAllow},
      {"epoll_wait", kAllow},
      {"epoll_pwait", kAllow},
      {"eventfd2", kAllow},  // Wakes an epoll.
      // Descriptors that cwasi passed: inputs, outputs, modules. Guests' output.
      {"read", kAllow},
      {"readv", kAllow},
      {"pread64", kAllow},
      {"preadv", kAllow},
      {"write", kAllow},
      {"writev", kAllow},
      {"pwrite64", kAllow},
      {"pwritev", kAllow},
      {"lseek", kAllow},
      {"fstat", kAllow},
      {"fstatfs", kAllow},  // Is what a peer sent in huge pages?
      {"close", kAllow},
      // Paths: answered by the handler of paths.h, never by the kernel.
      {"openat", SCMP_ACT_TRAP},
      {"newfstatat", SCMP_ACT_TRAP},
      // Rust asks by this first and then by fstat.
      {"statx", SCMP_ACT_ERRNO(ENOSYS)},
      // Time, where the vDSO cannot tell it.
      {"clock_gettime", kAllow},
      {"clock_getres", kAllow},
      {"clock_nanosleep", kAllow},
      {"nanosleep", kAllow},
      {"getrandom", kAllow},
      // The engine turns faults of compiled code into traps.
      {"rt_sigaction", kAllow},
      {"rt_sigprocmask", kAllow},
      {"rt_sigreturn", kAllow},
      {"sigaltstack", kAllow},
      {"tgkill", kAllow, {Is(0, kOwnProcess)}},  // abort(3), to itself.
      {"getpid", kAllow},
      {"gettid", kAllow},
      {"exit", kAllow},
      {"exit_group", kAllow},
      // The guest's thread and the ticker's. glibc tries clone3, whose flags no filter can see.
      {"clone", kAllow, {Is(0, kThreadFlags)}},
      {"clone3", SCMP_ACT_ERRNO(ENOSYS)},
      {"set_robust_list", kAllow},                  // Each new thread.
      {"rseq", kAllow},                             // Each new thread.
      {"sched_getaffinity", kAllow},                // How many CPUs: whether spinning pays.
      {"prlimit64", kAllow, {Is(0, 0), Is(2, 0)}},  // Reads the own limits: a thread's stack.
      {"prctl", kAllow, {Is(0, PR_SET_NAME)}},      // A thread's name.
      {"prctl", SCMP_ACT_ERRNO(EINVAL), {IsNot(0, PR_SET_NAME)}},  // Newer libraries name memory.
      // The next stage.
      {"seccomp", kAllow, {Is(0, SECCOMP_SET_MODE_FILTER), Is(1, SECCOMP_FILTER_FLAG_TSYNC)}},
  };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  for (Rule& rule : std::vector<Rule>{
           {"pipe", kAllow},  // UBSan: is this memory readable?
           {"pipe2", kAllow},
           {"readlink", SCMP_ACT_ERRNO(ENOENT)},  // Their reports look for the program's name.
           {"readlinkat", SCMP_ACT_ERRNO(ENOENT)},
           {"gettimeofday", kAllow},  // TSan's own thread.
           {"getrlimit", kAllow},
           {"sysinfo", kAllow},
           {"getppid", kAllow},
           {"uname", kAllow},
       })
    rules.push_back(std::move(rule));
#endif
  return rules;
}

// On top of the first, which goes on to hold: threads are there, filters are final.
std::vector<Rule> ServingRules() {
  return {
      {"clone", SCMP_ACT_KILL_PROCESS},
      {"seccomp", SCMP_ACT_KILL_PROCESS},
  };
}

struct ContextRelease {
  void operator()(void* context) const { seccomp_release(context); }
};

tl::unexpected<Error> FailRule(const std::string& what, int result) {
  return Fail(ErrorCode::kInternal,
              "compile the filter of system calls: " + what + ": " + ErrnoText(-result), -result);
}

// seccomp_export_bpf writes to a descriptor.
Result<FilterProgram> Export(scmp_filter_ctx context) {
  const UniqueFd file(::memfd_create("cwasi-filter", MFD_CLOEXEC));
  if (!file.IsOpen()) return FailErrno("compile the filter of system calls: memfd");
  if (const int result = seccomp_export_bpf(context, file.Get()); result != 0)
    return FailRule("export", result);
  const auto bytes = ::lseek(file.Get(), 0, SEEK_END);
  FilterProgram program;
  program.instructions.resize(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
  const auto into = std::as_writable_bytes(std::span(program.instructions));
  if (bytes <= 0 || ::pread(file.Get(), into.data(), into.size(), 0) != bytes)
    return FailErrno("compile the filter of system calls: read it");
  return program;
}

Result<FilterProgram> Compile(std::uint32_t otherwise, const std::vector<Rule>& rules) {
  const std::unique_ptr<void, ContextRelease> context(seccomp_init(otherwise));
  if (context == nullptr) return Fail(ErrorCode::kInternal, "compile the filter of system calls");
  for (const Rule& rule : rules) {
    const int number = seccomp_syscall_resolve_name(rule.call);
    if (number == __NR_SCMP_ERROR) return FailRule(std::string(rule.call) + " is unknown", -ENOSYS);
    // Not on this architecture, such as pipe on arm64.
    if (number < 0) continue;
    const int result =
        seccomp_rule_add_exact_array(context.get(), rule.action, number,
                                     static_cast<unsigned>(rule.when.size()), rule.when.data());
    if (result != 0) return FailRule(rule.call, result);
  }
  // Calls of 32-bit programs and x32's: libseccomp would end the thread alone.
  if (const int result =
          seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
      result != 0)
    return FailRule("refuse other architectures", result);
  // The hot calls first would cost order; a tree of comparisons costs the same for all.
  if (const int result = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2); result != 0)
    return FailRule("optimise", result);
  return Export(context.get());
}

bool NamesOwnProcess(const sock_filter& instruction) {
  return instruction.code == (BPF_JMP | BPF_JEQ | BPF_K) && instruction.k == kOwnProcess;
}

// Everything the compiled program depends on; the first number changes with Compile.
std::string DescribeRules(std::uint32_t otherwise, const std::vector<Rule>& rules) {
  const scmp_version* version = seccomp_version();
  std::string text = "1 " + std::to_string(version->major) + "." + std::to_string(version->minor) +
                     "." + std::to_string(version->micro) + " " +
                     std::to_string(seccomp_arch_native()) + " " + std::to_string(otherwise) + "\n";
  for (const Rule& rule : rules) {
    text += rule.call;
    text += " " + std::to_string(rule.action);
    for (const scmp_arg_cmp& cmp : rule.when)
      text += " " + std::to_string(cmp.arg) + "," + std::to_string(static_cast<int>(cmp.op)) + "," +
              std::to_string(cmp.datum_a) + "," + std::to_string(cmp.datum_b);
    text += "\n";
  }
  return text;
}

}  // namespace

Result<FilterProgram> CompileWorkerFilter(FilterStage stage, const std::filesystem::path& cache) {
  const bool start = stage == FilterStage::kStart;
  const std::uint32_t otherwise = start ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ALLOW;
  const auto rules = start ? StartRules() : ServingRules();
  const auto entry = FilterCacheEntry::Open(cache, DescribeRules(otherwise, rules));
  FilterProgram program;
  if (auto cached = entry.Read(); cached.has_value()) {
    program.instructions = *std::move(cached);
  } else {
    TRY_SET(program, Compile(otherwise, rules));
    entry.Write(program.instructions);
  }
  // Exactly once: SetOwnProcess would otherwise loosen another rule, or none.
  const auto placeholders =
      std::count_if(program.instructions.begin(), program.instructions.end(), NamesOwnProcess);
  if (placeholders != (start ? 1 : 0))
    return Fail(ErrorCode::kInternal, "compile the filter of system calls: unexpected program");
  return program;
}

void SetOwnProcess(FilterProgram& program, pid_t own) {
  CHECK(own > 0);
  const auto it =
      std::find_if(program.instructions.begin(), program.instructions.end(), NamesOwnProcess);
  CHECK(it != program.instructions.end());
  it->k = static_cast<std::uint32_t>(own);
}

Result<> InstallFilter(FilterProgram& program, FilterStage stage) {
  const sock_fprog prog{.len = static_cast<unsigned short>(program.instructions.size()),
                        .filter = program.instructions.data()};
  const unsigned flags = stage == FilterStage::kServing ? SECCOMP_FILTER_FLAG_TSYNC : 0;
  const auto result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
  if (result > 0)
    return Fail(ErrorCode::kInternal, "install the filter of system calls: threads differ");
  if (result < 0) return FailErrno("install the filter of system calls");
  return {};
}

}  // namespace cwasi::sandbox
