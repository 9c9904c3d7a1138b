// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Control groups of cwasi's own, versions 1 and 2, each controller where the machine has it: one
// subtree per zygote below the group it runs in, and in it one group per worker.
//
// Source: Documentation/admin-guide/cgroup-v1, cgroup-v2.rst.
//
// Ownership: whoever created a group removes it; a forked child disowns its copies. A subtree whose
// owner was killed is recognised by its lock, which the kernel drops with the last process that has
// it open, and is removed by the next CgroupTree or by RemoveAbandoned.
// Thread: one. Invariant: a CgroupTree outlives its WorkerCgroups.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::sandbox {

// 0: no limit.
struct WorkerLimits {
  bool operator==(const WorkerLimits&) const = default;

  // What all of its memory may take together, the pages of segments it was first to touch included.
  std::uint64_t memory_bytes = 0;
  std::uint32_t tasks = 16;  // Threads: three, and some for what may come.
  std::uint32_t descriptors = 8192;
};

// A directory in one hierarchy.
struct CgroupFolder {
  int version = 0;
  bool memory = false;
  bool pids = false;
  UniqueFd parent;
  UniqueFd folder;
  std::string name;  // In `parent`.
};

class WorkerCgroup {
 public:
  WorkerCgroup() = default;
  WorkerCgroup(WorkerCgroup&&) noexcept = default;
  WorkerCgroup& operator=(WorkerCgroup&& other) noexcept;
  WorkerCgroup(const WorkerCgroup&) = delete;
  WorkerCgroup& operator=(const WorkerCgroup&) = delete;
  // Removes the groups, once their process is gone; waits up to two seconds for the kernel to see
  // that.
  ~WorkerCgroup() { Remove(); }

  // For clone3's CLONE_INTO_CGROUP; -1 if none is of version 2.
  [[nodiscard]] int CloneInto() const;
  // Moves the calling process into those of `version`. Usually microseconds, but the first move
  // after a pause waits for the kernel's readers, 5 to 20 ms.
  Result<> Attach(int version) const;
  Result<> Limit(const WorkerLimits& limits) const;
  // In a forked child: forgets everything, descriptors too, which are closed otherwise.
  void Disown();

 private:
  friend class CgroupTree;
  void Remove();

  std::vector<CgroupFolder> folders_;
};

class CgroupTree {
 public:
  CgroupTree() = default;
  // Also if only one of memory and pids can be limited. Errors: kUnimplemented, kPermissionDenied,
  // with what the user can do about it.
  static Result<CgroupTree> Create();
  CgroupTree(CgroupTree&&) noexcept = default;
  CgroupTree& operator=(CgroupTree&& other) noexcept;
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;
  ~CgroupTree() { Remove(); }

  // Without limits.
  Result<WorkerCgroup> CreateWorker();
  // Moves the calling process back to where Create found it: nothing can be removed while it is in.
  void LeaveWorkers() const;
  [[nodiscard]] bool LimitsMemory() const;
  [[nodiscard]] bool LimitsTasks() const;
  // 1 or 2; 0 without any.
  [[nodiscard]] int Version() const { return folders_.empty() ? 0 : folders_.front().version; }
  void Disown();

  // Removes subtrees whose owners are gone, for whoever saw a zygote die.
  static void RemoveAbandoned();

 private:
  void Remove();

  std::vector<CgroupFolder> folders_;
  std::uint64_t next_worker_ = 1;
};

}  // namespace cwasi::sandbox
