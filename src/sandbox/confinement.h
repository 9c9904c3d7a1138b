// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Confinement: what a zygote puts around its workers. In two phases, so that a worker's start pays
// only for what must be its own:
//
//   zygote: Prepare, once        compiles the filter, makes a subtree of cgroups, gives up files,
//     |                          network, environment, the bounding set, ever gaining privileges
//     |  Fork, per worker        a cgroup with limits, a pid namespace
//     v
//   worker: Enter                descriptors, user, capabilities, Landlock, filter
//           EnterServing         when all its threads are there: no more threads
//
// What the machine does not allow is left out and told in Facts; without the filter and
// no_new_privs there is no confinement. What Prepare found possible must work in Enter.
//
// Source: docs/adr/0005-worker-sandbox.md; docs/security.md says what is protected by what.
//
// Thread: the only one of its process, but for EnterServing.

#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sandbox/cgroup.h"
#include "sandbox/facts.h"
#include "sandbox/isolation.h"
#include "sandbox/worker_filter.h"

namespace cwasi::sandbox {

struct ConfinedProcess {
  pid_t pid = 0;        // 0 in the child.
  UniqueFd pidfd;       // In the parent.
  WorkerCgroup cgroup;  // To be destroyed by the parent after it has reaped the child.
  WorkerLimits limits;
};

// What a worker has of the outside besides the descriptors it kept.
struct Entered {
  // Nothing can be opened any more. Empty where the kernel has none.
  UniqueFd pagemap;  // The own /proc/self/pagemap, for PAGEMAP_SCAN.
  UniqueFd loadavg;  // /proc/loadavg, for whether spinning pays.
};

class Confinement {
 public:
  struct Options {
    // Of the workers, where the caller is root: nobody's, in Debian.
    uid_t uid = 65534;
    gid_t gid = 65534;
    std::filesystem::path filter_cache = {};  // Empty: none.
    bool with_cgroups = true;
  };

  // The calling process loses its files, network and host name where that is allowed, and its
  // environment: it must have opened and read what it needs. Errors: kUnimplemented, kInternal: no
  // filter can be had.
  static Result<Confinement> Prepare(const Options& options);
  Confinement(Confinement&&) noexcept = default;
  Confinement& operator=(Confinement&&) = delete;
  Confinement(const Confinement&) = delete;
  Confinement& operator=(const Confinement&) = delete;
  // Removes the cgroups, whose workers have been reaped.
  ~Confinement();

  // fork(2) into the worker's cgroup and pid namespace; returns twice. In a pid namespace the child
  // is process 1: its getppid() is 0, and a signal it sends itself is ignored where it has no
  // handler, so abort() ends it by SIGSEGV. Errors, in the parent only: kResourceExhausted, by
  // errno.
  Result<ConfinedProcess> Fork(const WorkerLimits& limits);

  // In the child, with what Fork returned, once. Descriptors not in `kept` are closed, of `this`
  // too: only EnterServing may follow. A parent-death signal set before is still set after. On an
  // error the process is half confined and must exit. Errors: by errno.
  Result<Entered> Enter(ConfinedProcess child, std::span<const int> kept);

  // In the child, after Enter: no more threads can be made, for all threads. Thread: any.
  Result<> EnterServing();

  [[nodiscard]] const std::vector<Fact>& Facts() const { return facts_; }

 private:
  Confinement() = default;
  void DescribeIsolation();
  void DescribeCgroups(const std::optional<Error>& failure);
  Result<> GiveUp() const;
  Result<> MakeNext(const WorkerLimits& limits);
  Result<> PrepareNext(const WorkerLimits& limits);
  Result<ConfinedProcess> Clone() const;
  Result<> DropPrivileges() const;

  Options options_;
  FilterProgram start_filter_;
  FilterProgram serving_filter_;
  int landlock_version_ = 0;
  UniqueFd landlock_ruleset_;
  CgroupTree cgroups_;  // Empty where there are none.
  // The next worker's, if it is made; where version 1, the caller is in it.
  std::optional<WorkerCgroup> next_;
  WorkerLimits next_limits_;
  Isolation isolation_;
  bool switches_user_ = false;  // Workers are another user than the caller.
  std::vector<Fact> facts_;
};

}  // namespace cwasi::sandbox
