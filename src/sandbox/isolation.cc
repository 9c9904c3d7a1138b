// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/isolation.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>

#include "sandbox/clone.h"
#include "sandbox/failure.h"

namespace cwasi::sandbox {
namespace {

Result<> WriteText(const char* path, const std::string& text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file.IsOpen() ||
      ::write(file.Get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return FailErrno(std::string("write ") + path);
  return {};
}

Result<> EnterNamespaces(IsolationKind kind) {
  constexpr int kFlags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (kind == IsolationKind::kRoot) {
    if (::unshare(kFlags) != 0) return FailErrno("create namespaces");
    return {};
  }
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWUSER | kFlags) != 0) return FailErrno("create a user namespace");
  // Without this nobody may write the group's line: a group that takes rights away could be
  // dropped.
  TRY(WriteText("/proc/self/setgroups", "deny"));
  TRY(WriteText("/proc/self/uid_map", std::to_string(uid) + " " + std::to_string(uid) + " 1"));
  TRY(WriteText("/proc/self/gid_map", std::to_string(gid) + " " + std::to_string(gid) + " 1"));
  return {};
}

Result<> ReplaceRoot() {
  // Nothing that happens here is to be seen outside.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return FailErrno("make mounts private");
  // On /proc since it is a folder that is there.
  if (::mount("cwasi", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=1,mode=0555") != 0)
    return FailErrno("mount an empty root");
  if (::chdir("/proc") != 0) return FailErrno("enter the empty root");
  // The old root lies over the new one then, at the same place: pivot_root(2).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return FailErrno("change the root");
  if (::umount2(".", MNT_DETACH) != 0) return FailErrno("leave the old root");
  if (::chdir("/") != 0) return FailErrno("enter the new root");
  return {};
}

Result<> Isolate(IsolationKind kind) {
  TRY(EnterNamespaces(kind));
  // The machine's name is none of a guest's business.
  if (::sethostname("cwasi", 5) != 0) return FailErrno("set the host name");
  return ReplaceRoot();
}

Result<> TryPidNamespace() {
  TRY_SET(auto child, CloneProcess({.flags = CLONE_NEWPID}));
  if (child.pid == 0) ::_exit(::getpid() == 1 ? 0 : 1);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0)
    return Fail(ErrorCode::kInternal, "the first process of a pid namespace is not 1");
  return {};
}

constexpr char kIsolated = 'i';
constexpr char kWithPids = 'p';

struct Attempt {
  bool isolated = false;
  bool pid_namespaces = false;
  std::string why_not;
};

void ReportAttempt(IsolationKind kind, int report) {
  std::string text;
  if (auto isolated = Isolate(kind); !isolated) {
    text = " " + isolated.error().message;
  } else if (auto pids = TryPidNamespace(); !pids) {
    text = kIsolated + pids.error().message;
  } else {
    text = kWithPids;
  }
  [[maybe_unused]] const auto ignored = ::write(report, text.data(), text.size());
}

Result<Attempt> TryInChild(IsolationKind kind) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno("try the sandbox: pipe");
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return FailErrno("try the sandbox: fork");
  if (child == 0) {
    ReportAttempt(kind, out.Get());
    ::_exit(0);
  }
  out.Reset();
  std::array<char, 300> text{};
  ssize_t got = 0;
  do got = ::read(in.Get(), text.data(), text.size());
  while (got < 0 && errno == EINTR);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (got <= 0)
    return Fail(ErrorCode::kInternal, "try the sandbox: the child ended without a word");
  return Attempt{.isolated = text[0] != ' ',
                 .pid_namespaces = text[0] == kWithPids,
                 .why_not = std::string(text.data() + 1, static_cast<std::size_t>(got) - 1)};
}

}  // namespace

Result<Isolation> IsolateProcess() {
  Isolation isolation;
  isolation.proc.Reset(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!isolation.proc.IsOpen()) return FailErrno("open /proc");
  for (const IsolationKind kind : {IsolationKind::kRoot, IsolationKind::kUserNamespace}) {
    TRY_SET(auto attempt, TryInChild(kind));
    // Of two reasons the second: without root the first says only that we are not root.
    isolation.why_not = std::move(attempt.why_not);
    if (!attempt.isolated) continue;
    TRY(Isolate(kind));
    isolation.kind = kind;
    isolation.pid_namespaces = attempt.pid_namespaces;
    break;
  }
  return isolation;
}

}  // namespace cwasi::sandbox
