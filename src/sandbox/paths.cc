// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/paths.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>

#include "sandbox/failure.h"

namespace cwasi::sandbox {
namespace {

constexpr std::string_view kOwnDescriptors = "/proc/self/fd/";

std::optional<int> DescriptorNamed(std::string_view path) {
  if (path.substr(0, kOwnDescriptors.size()) != kOwnDescriptors) return std::nullopt;
  const auto digits = path.substr(kOwnDescriptors.size());
  int fd = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), fd);
  if (error != std::errc() || end != digits.end() || fd < 0) return std::nullopt;
  return fd;
}

// The results are the kernel's: a value, or -errno.
long Open(const char* path, long flags) {
  const auto fd = DescriptorNamed(path);
  if (!fd) return -ENOENT;
  if ((flags & (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND)) != O_RDONLY) return -EACCES;
  const int copy = ::fcntl(*fd, F_DUPFD_CLOEXEC, 0);
  return copy >= 0 ? copy : -errno;
}

long Stat(long directory, const char* path, struct stat* status, long flags) {
  const std::string_view name(path);
  std::optional<int> fd = DescriptorNamed(name);
  if (name.empty() && (flags & AT_EMPTY_PATH) != 0) fd = static_cast<int>(directory);
  if (!fd) return -ENOENT;
  // Not fstat(3): glibc's is newfstatat again.
  return ::syscall(SYS_fstat, *fd, status) == 0 ? 0 : -errno;
}

struct TrappedCall {
#if defined(__x86_64__)
  explicit TrappedCall(ucontext_t& context) : registers(context.uc_mcontext.gregs) {}
  [[nodiscard]] long Argument(int index) const {
    constexpr int kOrder[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10};
    return registers[kOrder[index]];
  }
  void Return(long result) const { registers[REG_RAX] = result; }
  greg_t* registers;
#elif defined(__aarch64__)
  explicit TrappedCall(ucontext_t& context) : registers(context.uc_mcontext.regs) {}
  [[nodiscard]] long Argument(int index) const { return static_cast<long>(registers[index]); }
  void Return(long result) const { registers[0] = static_cast<unsigned long long>(result); }
  unsigned long long* registers;
#else
#error "which registers carry a system call's arguments?"
#endif
};

template <class T>
T* Pointer(long argument) {
  return reinterpret_cast<T*>(argument);  // NOLINT(performance-no-int-to-ptr): a register's value.
}

void OnTrappedCall(int /*signal*/, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const TrappedCall call(*static_cast<ucontext_t*>(context));
  switch (info->si_syscall) {
    case SYS_openat:
      call.Return(Open(Pointer<const char>(call.Argument(1)), call.Argument(2)));
      break;
    case SYS_newfstatat:
      call.Return(Stat(call.Argument(0), Pointer<const char>(call.Argument(1)),
                       Pointer<struct stat>(call.Argument(2)), call.Argument(3)));
      break;
    default:
      ::_exit(128 + SIGSYS);
  }
  errno = saved_errno;
}

}  // namespace

Result<> AnswerPathCalls() {
  struct sigaction action{};
  action.sa_sigaction = OnTrappedCall;
  // A path that cannot be read faults in the handler, and the engine's handler must find it there.
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  if (::sigaction(SIGSYS, &action, nullptr) != 0) return FailErrno("handle SIGSYS");
  return {};
}

}  // namespace cwasi::sandbox
