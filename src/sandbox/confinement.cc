// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/confinement.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "sandbox/clone.h"
#include "sandbox/failure.h"
#include "sandbox/landlock.h"
#include "sandbox/paths.h"

namespace cwasi::sandbox {
namespace {

constexpr std::size_t kMostKept = 64;
constexpr int kNoCgroupExitCode = 70;  // EX_SOFTWARE

// Closes every descriptor but those in `kept`.
Result<> CloseOthers(std::span<const int> kept) {
  CHECK(kept.size() <= kMostKept);
  std::array<int, kMostKept> sorted{};
  const auto end = std::copy(kept.begin(), kept.end(), sorted.begin());
  std::sort(sorted.begin(), end);
  unsigned next = 0;
  for (auto it = sorted.begin(); it != end; ++it) {
    if (*it < 0) continue;
    const auto fd = static_cast<unsigned>(*it);
    if (fd > next && ::syscall(SYS_close_range, next, fd - 1, 0) != 0)
      return FailErrno("close descriptors");
    next = fd + 1;
  }
  if (::syscall(SYS_close_range, next, ~0U, 0) != 0) return FailErrno("close descriptors");
  return {};
}

// The strings too: they lie in our memory, whoever takes us over could read them.
void ClearEnvironment() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    ::explicit_bzero(*entry, std::strlen(*entry));
  ::clearenv();  // NOLINT(concurrency-mt-unsafe): the process has one thread.
}

Result<> SetLimit(int resource, const char* name, rlim_t most) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0)
    return FailErrno(std::string("read ") + name);
  limit.rlim_max = std::min(limit.rlim_max, most);
  limit.rlim_cur = std::min(limit.rlim_cur, most);
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0)
    return FailErrno(std::string("set ") + name);
  return {};
}

Result<> DropBoundingSet() {
  for (unsigned long cap = 0; ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; ++cap) {
  }
  // EINVAL: beyond the last one. EPERM: without CAP_SETPCAP, and no_new_privs makes the set moot.
  if (errno != EINVAL && errno != EPERM) return FailErrno("drop the bounding set");
  return {};
}

Result<> DropCapabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const std::array<__user_cap_data_struct, 2> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0) return FailErrno("drop capabilities");
  return {};
}

Result<> SwitchUser(uid_t uid, gid_t gid) {
  if (::setgroups(0, nullptr) != 0) return FailErrno("leave the groups");
  if (::setresgid(gid, gid, gid) != 0) return FailErrno("change the group");
  if (::setresuid(uid, uid, uid) != 0) return FailErrno("change the user");
  return {};
}

// Root of a user namespace may have no other user in it, or no right to leave its groups: a
// container without root is often such a one. Tried, in a child, since there is no way back.
Result<bool> CanSwitchUser(uid_t uid, gid_t gid) {
  const pid_t child = ::fork();
  if (child < 0) return FailErrno("try the sandbox: fork");
  if (child == 0) ::_exit(SwitchUser(uid, gid) ? 0 : 1);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0;
}

// For the leak checker below.
bool confined = false;

}  // namespace

Result<Confinement> Confinement::Prepare(const Options& options) {
  Confinement confinement;
  confinement.options_ = options;
  TRY_SET(confinement.start_filter_,
          CompileWorkerFilter(FilterStage::kStart, options.filter_cache));
  TRY_SET(confinement.serving_filter_,
          CompileWorkerFilter(FilterStage::kServing, options.filter_cache));
  confinement.landlock_version_ = LandlockVersion();
  if (confinement.landlock_version_ > 0) {
    TRY_SET(confinement.landlock_ruleset_, CreateDenyAllRuleset(confinement.landlock_version_));
  }
  std::optional<Error> no_cgroup;
  if (options.with_cgroups) {
    if (auto tree = CgroupTree::Create()) {
      confinement.cgroups_ = std::move(*tree);
    } else {
      no_cgroup = std::move(tree).error();
    }
  } else {
    no_cgroup = Error{.code = ErrorCode::kFailedPrecondition,
                      .message = "left out: cwasi's own budgets bound memory"};
  }
  TRY_SET(confinement.isolation_, IsolateProcess());
  // In a user namespace of one user there is no other.
  if (::geteuid() == 0 && confinement.isolation_.kind != IsolationKind::kUserNamespace) {
    TRY_SET(confinement.switches_user_, CanSwitchUser(options.uid, options.gid));
  }
  TRY(confinement.GiveUp());
  confined = true;  // This process has no /proc any more, either.
  // Ahead of the first worker, if it can be.
  if (confinement.cgroups_.Version() != 0) (void)confinement.PrepareNext({});
  confinement.DescribeIsolation();
  confinement.DescribeCgroups(no_cgroup);
  return confinement;
}

void Confinement::DescribeIsolation() {
  const bool isolated = isolation_.kind != IsolationKind::kNone;
  facts_.push_back(
      {.name = "system calls",
       .means = "seccomp",
       .state = FactState::kHolds,
       .why = "a filter of " + std::to_string(start_filter_.instructions.size()) + " instructions",
       .advice = ""});
  facts_.push_back(
      {.name = "no files, no network",
       .means = "namespaces",
       .state = isolated ? FactState::kHolds : FactState::kDoesNotHold,
       .why = isolation_.kind == IsolationKind::kRoot ? "namespaces with an empty root, as root"
              : isolated                              ? "a user namespace with an empty root"
                                                      : isolation_.why_not,
       .advice =
           isolated ? ""
                    : "allow user namespaces (sysctl user.max_user_namespaces, "
                      "kernel.unprivileged_userns_clone, AppArmor's restriction), or run as root"});
  facts_.push_back(
      {.name = "own process numbers",
       .means = "pid namespaces",
       .state = isolation_.pid_namespaces ? FactState::kHolds : FactState::kDoesNotHold,
       .why = isolation_.pid_namespaces ? "a pid namespace per worker" : isolation_.why_not,
       .advice = ""});
  const bool landlock = landlock_version_ > 0;
  const bool signals = landlock_version_ >= kLandlockScopesSignals;
  facts_.push_back(
      {.name = "Landlock",
       .means = "Landlock",
       .state = landlock ? FactState::kHolds : FactState::kDoesNotHold,
       .why = !landlock ? "the kernel has none, or it is not in the list of lsm="
                        : "version " + std::to_string(landlock_version_) +
                              (signals ? ", signals too" : ", without signals (Linux 6.12)"),
       .advice = landlock
                     ? ""
                     : "Linux 5.13 or newer, with landlock in lsm= of the kernel's command line"});
  facts_.push_back(
      {.name = "unprivileged user",
       .means = "an unprivileged user",
       .state = switches_user_ || ::geteuid() != 0 ? FactState::kHolds : FactState::kDoesNotHold,
       .why = switches_user_ ? "uid " + std::to_string(options_.uid)
                             : "uid " + std::to_string(::geteuid()) + ", without capabilities",
       .advice = ""});
}

void Confinement::DescribeCgroups(const std::optional<Error>& failure) {
  const auto describe = [&](const char* name, bool holds) {
    facts_.push_back(
        {.name = name,
         .means = "cgroups",
         .state = holds ? FactState::kHolds : FactState::kDoesNotHold,
         .why = holds     ? "cgroup version " + std::to_string(cgroups_.Version())
                : failure ? failure->message
                          : "no such controller",
         .advice = holds ? ""
                         : "cwasi's own budget still holds; for the kernel's, run as root or in a "
                           "group of your own (systemd-run --user --scope -p Delegate=yes)"});
  };
  describe("memory limit", cgroups_.LimitsMemory());
  describe("limit of threads", cgroups_.LimitsTasks());
}

Confinement::~Confinement() {
  cgroups_.LeaveWorkers();
  next_.reset();
}

// What the children inherit.
Result<> Confinement::GiveUp() const {
  ClearEnvironment();
  TRY(SetLimit(RLIMIT_CORE, "RLIMIT_CORE", 0));  // A core file would hold payloads.
  TRY(SetLimit(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", 0));
  TRY(SetLimit(RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", 0));
  // Never RLIMIT_DATA or RLIMIT_AS: a move of pages that fails midway would leave a hole.
  TRY(DropBoundingSet());
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return FailErrno("clear ambient capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return FailErrno("set no_new_privs");
  return {};
}

Result<> Confinement::MakeNext(const WorkerLimits& limits) {
  if (!next_) {
    TRY_SET(next_, cgroups_.CreateWorker());
    TRY(next_->Attach(1));
  } else if (limits == next_limits_) {
    return {};
  }
  TRY(next_->Limit(limits));
  next_limits_ = limits;
  return {};
}

Result<> Confinement::PrepareNext(const WorkerLimits& limits) {
  auto made = MakeNext(limits);
  if (!made) {
    // Never a worker without its limits, nor this process in a group that is to be removed.
    cgroups_.LeaveWorkers();
    next_.reset();
  }
  return made;
}

Result<ConfinedProcess> Confinement::Clone() const {
  ConfinedProcess process;
  if (CanCloneProcess()) {
    TRY_SET(auto cloned,
            CloneProcess({.flags = isolation_.pid_namespaces ? std::uint64_t{CLONE_NEWPID} : 0,
                          .cgroup = next_ ? next_->CloneInto() : -1}));
    process.pid = cloned.pid;
    process.pidfd = std::move(cloned.pidfd);
    return process;
  }
  process.pid = ::fork();
  if (process.pid < 0) return FailErrno("fork");
  // Never without its limits.
  if (process.pid == 0 && next_ && !next_->Attach(2)) ::_exit(kNoCgroupExitCode);
  if (process.pid > 0)
    process.pidfd.Reset(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  return process;
}

Result<ConfinedProcess> Confinement::Fork(const WorkerLimits& limits) {
  if (cgroups_.Version() != 0) TRY(PrepareNext(limits));
  TRY_SET(auto process, Clone());
  process.limits = limits;
  if (process.pid == 0 || !next_) return process;
  process.cgroup = std::move(*next_);
  next_.reset();
  // If it fails now, the next Fork says so.
  (void)PrepareNext(limits);
  return process;
}

Result<> Confinement::DropPrivileges() const {
  int death_signal = 0;
  if (::prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0) != 0)
    return FailErrno("read the parent-death signal");
  if (switches_user_) TRY(SwitchUser(options_.uid, options_.gid));
  TRY(DropCapabilities());
  // Others of this user cannot attach, and /proc/PID belongs to root.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return FailErrno("set not dumpable");
  // A change of user clears it.
  if (death_signal != 0 && ::prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0)
    return FailErrno("set the parent-death signal");
  return {};
}

Result<Entered> Confinement::Enter(ConfinedProcess child, std::span<const int> kept) {
  CHECK(child.pid == 0);
  CHECK(kept.size() + 3 <= kMostKept);
  Entered entered;
  entered.pagemap.Reset(::openat(isolation_.proc.Get(), "self/pagemap", O_RDONLY | O_CLOEXEC));
  entered.loadavg.Reset(::openat(isolation_.proc.Get(), "loadavg", O_RDONLY | O_CLOEXEC));
  // The owners go without closing: their numbers may soon be other files'.
  if (next_) next_->Disown();
  next_.reset();
  cgroups_.Disown();
  (void)isolation_.proc.Release();
  const int ruleset = landlock_ruleset_.Release();
  std::array<int, kMostKept> all{};
  auto end = std::copy(kept.begin(), kept.end(), all.begin());
  *end++ = entered.pagemap.Get();
  *end++ = entered.loadavg.Get();
  *end++ = ruleset;
  TRY(CloseOthers({all.begin(), end}));
  TRY(SetLimit(RLIMIT_NOFILE, "RLIMIT_NOFILE",
               child.limits.descriptors == 0 ? RLIM_INFINITY : child.limits.descriptors));
  TRY(DropPrivileges());
  if (ruleset >= 0) {
    TRY(EnterRuleset(ruleset));
    ::close(ruleset);
  }
  TRY(AnswerPathCalls());
  SetOwnProcess(start_filter_, ::getpid());
  TRY(InstallFilter(start_filter_, FilterStage::kStart));
  confined = true;
  return entered;
}

Result<> Confinement::EnterServing() {
  return InstallFilter(serving_filter_, FilterStage::kServing);
}

}  // namespace cwasi::sandbox

#if defined(__SANITIZE_ADDRESS__)
// The leak check traces the process from a helper process: the sandbox forbids both. Source:
// sanitizer/lsan_interface.h.
extern "C" int __lsan_is_turned_off() {  // NOLINT(bugprone-reserved-identifier): its name.
  return cwasi::sandbox::confined ? 1 : 0;
}
#endif
