// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "sandbox/cgroup_paths.h"
#include "sandbox/failure.h"

namespace cwasi::sandbox {
namespace {

constexpr char kPrefix[] = "cwasi-";
constexpr std::string_view kUnlimited = "max";

Result<> WriteFile(int folder, const char* name, const std::string& text) {
  const UniqueFd file(::openat(folder, name, O_WRONLY | O_CLOEXEC));
  if (!file.IsOpen() ||
      ::write(file.Get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return FailErrno(std::string("write ") + text + " to " + name + " of a cgroup");
  return {};
}

// Empty if it cannot be read.
std::string ReadFile(int folder, const char* name) {
  const UniqueFd file(::openat(folder, name, O_RDONLY | O_CLOEXEC));
  std::array<char, 512> text{};
  const ssize_t got = file.IsOpen() ? ::read(file.Get(), text.data(), text.size()) : 0;
  std::string read(text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  while (!read.empty() && read.back() == '\n') read.pop_back();
  return read;
}

bool HasWord(const std::string& words, std::string_view word) {
  return (" " + words + " ").find(" " + std::string(word) + " ") != std::string::npos;
}

UniqueFd OpenFolder(int parent, const char* name) {
  return UniqueFd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

// Of all removals of one owner together.
MonotonicNs RemovalDeadline() {
  return DeadlineAfter(Now(), std::chrono::seconds(2));
}

// The kernel needs a moment after the last process was reaped: EBUSY until then.
void RemoveFolder(int parent, const char* name, MonotonicNs deadline) {
  while (::unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno == EBUSY && Now() < deadline)
    ::poll(nullptr, 0, 1);
}

std::vector<std::string> FoldersIn(int folder) {
  std::vector<std::string> names;
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(copy < 0 ? nullptr : ::fdopendir(copy),
                                                    &::closedir);
  if (entries == nullptr) return names;
  while (const dirent* entry = ::readdir(entries.get()))  // NOLINT(concurrency-mt-unsafe): own DIR.
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  return names;
}

// With what workers' owners left in it that did not live to remove it.
void RemoveSubtree(int parent, const std::string& name, int folder, MonotonicNs deadline) {
  for (const std::string& worker : FoldersIn(folder))
    RemoveFolder(folder, worker.c_str(), deadline);
  RemoveFolder(parent, name.c_str(), deadline);
}

void RemoveAbandonedIn(int base) {
  const MonotonicNs deadline = RemovalDeadline();
  for (const std::string& name : FoldersIn(base)) {
    if (name.rfind(kPrefix, 0) != 0) continue;
    const UniqueFd folder = OpenFolder(base, name.c_str());
    if (!folder.IsOpen() || ::flock(folder.Get(), LOCK_EX | LOCK_NB) != 0) continue;
    RemoveSubtree(base, name, folder.Get(), deadline);
  }
}

// The number is for people; it says nothing about who lives.
Result<std::string> FreshName() {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
    return FailErrno("name a cgroup");
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%s%d-%016llx", kPrefix, ::getpid(),
                static_cast<unsigned long long>(random));
  return std::string(text.data());
}

// A new locked folder in `base`. Another process may take it for abandoned between its creation and
// its lock, and remove it.
Result<CgroupFolder> CreateLocked(UniqueFd base, const std::string& path) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    TRY_SET(const auto name, FreshName());
    if (::mkdirat(base.Get(), name.c_str(), 0755) != 0)
      return FailErrno("create a group in " + path);
    UniqueFd folder = OpenFolder(base.Get(), name.c_str());
    if (folder.IsOpen() && ::flock(folder.Get(), LOCK_EX | LOCK_NB) == 0 &&
        ::faccessat(base.Get(), name.c_str(), F_OK, 0) == 0) {
      CgroupFolder made;
      made.parent = std::move(base);
      made.folder = std::move(folder);
      made.name = name;
      return made;
    }
  }
  return Fail(ErrorCode::kUnavailable, "create a cgroup: others remove it");
}

// Of version 2: the nearest group, from our own upwards, that hands memory and pids on to groups
// below. Not past a limit, from which the workers would escape, nor into a group that has processes
// and controllers at once, which the kernel refuses ("no internal processes").
Result<UniqueFd> FindBase2(const CgroupPlace& place) {
  UniqueFd folder(::open((place.mount + place.path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.IsOpen()) return FailErrno("open cgroup " + place.mount + place.path);
  std::string path = place.path;
  for (;;) {
    const auto handed_on = [&] {
      const std::string words = ReadFile(folder.Get(), "cgroup.subtree_control");
      return HasWord(words, "memory") && HasWord(words, "pids");
    };
    if (!handed_on()) (void)WriteFile(folder.Get(), "cgroup.subtree_control", "+memory +pids");
    if (handed_on() && ::faccessat(folder.Get(), ".", W_OK, AT_EACCESS) == 0) return folder;
    const auto limit = [&](const char* name) {
      const std::string text = ReadFile(folder.Get(), name);
      return !text.empty() && text != kUnlimited;
    };
    if (path.size() <= 1 || limit("memory.max") || limit("pids.max"))
      return Fail(ErrorCode::kPermissionDenied,
                  "no group that may be divided, from " + place.mount + place.path);
    path.resize(std::max<std::size_t>(path.rfind('/'), 1));
    folder = OpenFolder(folder.Get(), "..");
    if (!folder.IsOpen()) return FailErrno("open a cgroup");
  }
}

Result<CgroupFolder> CreateIn1(const CgroupPlace& place) {
  const std::string path = place.mount + place.path;
  UniqueFd base(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!base.IsOpen()) return FailErrno("open cgroup " + path);
  RemoveAbandonedIn(base.Get());
  TRY_SET(auto folder, CreateLocked(std::move(base), path));
  folder.version = 1;
  return folder;
}

Result<CgroupFolder> CreateIn2(const CgroupPlace& place) {
  TRY_SET(auto base, FindBase2(place));
  RemoveAbandonedIn(base.Get());
  TRY_SET(auto folder, CreateLocked(std::move(base), place.mount));
  folder.version = 2;
  if (auto enabled = WriteFile(folder.folder.Get(), "cgroup.subtree_control", "+memory +pids");
      !enabled) {
    RemoveFolder(folder.parent.Get(), folder.name.c_str(), RemovalDeadline());
    return tl::unexpected(std::move(enabled).error());
  }
  return folder;
}

Result<> LimitFolder(const CgroupFolder& group, const WorkerLimits& limits) {
  const bool second = group.version == 2;
  if (group.memory && limits.memory_bytes != 0) {
    const std::string bytes = std::to_string(limits.memory_bytes);
    TRY(WriteFile(group.folder.Get(), second ? "memory.max" : "memory.limit_in_bytes", bytes));
    // No way round it by swap, where swap is counted.
    (void)WriteFile(group.folder.Get(), second ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
                    second ? "0" : bytes);
  }
  if (group.pids && limits.tasks != 0)
    TRY(WriteFile(group.folder.Get(), "pids.max", std::to_string(limits.tasks)));
  return {};
}

void RemoveAll(std::vector<CgroupFolder>& folders) {
  const MonotonicNs deadline = RemovalDeadline();
  for (const CgroupFolder& folder : folders)
    RemoveSubtree(folder.parent.Get(), folder.name, folder.folder.Get(), deadline);
  folders.clear();
}

void Forget(std::vector<CgroupFolder>& folders) {
  for (CgroupFolder& folder : folders) {
    (void)folder.parent.Release();
    (void)folder.folder.Release();
  }
  folders.clear();
}

}  // namespace

WorkerCgroup& WorkerCgroup::operator=(WorkerCgroup&& other) noexcept {
  if (this != &other) {
    Remove();
    folders_ = std::exchange(other.folders_, {});
  }
  return *this;
}

int WorkerCgroup::CloneInto() const {
  for (const CgroupFolder& folder : folders_)
    if (folder.version == 2) return folder.folder.Get();
  return -1;
}

Result<> WorkerCgroup::Attach(int version) const {
  for (const CgroupFolder& folder : folders_)
    if (folder.version == version) TRY(WriteFile(folder.folder.Get(), "cgroup.procs", "0"));
  return {};
}

void WorkerCgroup::Disown() {
  Forget(folders_);
}

void WorkerCgroup::Remove() {
  RemoveAll(folders_);
}

CgroupTree& CgroupTree::operator=(CgroupTree&& other) noexcept {
  if (this != &other) {
    Remove();
    folders_ = std::exchange(other.folders_, {});
    next_worker_ = other.next_worker_;
  }
  return *this;
}

Result<CgroupTree> CgroupTree::Create() {
  TRY_SET(const auto places, OwnCgroups());
  CgroupTree tree;
  std::string why;
  for (const CgroupPlace& place : places) {
    auto folder = place.version == 1 ? CreateIn1(place) : CreateIn2(place);
    if (!folder) {
      why += (why.empty() ? "" : "; ") + folder.error().message;
      continue;
    }
    folder->memory = place.memory;
    folder->pids = place.pids;
    tree.folders_.push_back(std::move(*folder));
  }
  if (tree.folders_.empty())
    return Fail(ErrorCode::kPermissionDenied,
                why.empty() ? "neither memory nor pids is controlled here" : why);
  return tree;
}

Result<> WorkerCgroup::Limit(const WorkerLimits& limits) const {
  for (const CgroupFolder& folder : folders_) TRY(LimitFolder(folder, limits));
  return {};
}

void CgroupTree::LeaveWorkers() const {
  for (const CgroupFolder& folder : folders_)
    if (folder.version == 1) (void)WriteFile(folder.parent.Get(), "cgroup.procs", "0");
}

Result<WorkerCgroup> CgroupTree::CreateWorker() {
  WorkerCgroup worker;
  const std::string name = "worker-" + std::to_string(next_worker_++);
  for (const CgroupFolder& tree : folders_) {
    CgroupFolder made;
    made.version = tree.version;
    made.memory = tree.memory;
    made.pids = tree.pids;
    made.parent.Reset(::fcntl(tree.folder.Get(), F_DUPFD_CLOEXEC, 0));
    if (!made.parent.IsOpen() || ::mkdirat(tree.folder.Get(), name.c_str(), 0755) != 0)
      return FailErrno("create a worker's cgroup");
    made.name = name;
    made.folder = OpenFolder(tree.folder.Get(), name.c_str());
    const bool open = made.folder.IsOpen();
    worker.folders_.push_back(std::move(made));
    if (!open) return FailErrno("open a worker's cgroup");
  }
  return worker;
}

bool CgroupTree::LimitsMemory() const {
  return std::any_of(folders_.begin(), folders_.end(),
                     [](const auto& folder) { return folder.memory; });
}

bool CgroupTree::LimitsTasks() const {
  return std::any_of(folders_.begin(), folders_.end(),
                     [](const auto& folder) { return folder.pids; });
}

void CgroupTree::Disown() {
  Forget(folders_);
}

void CgroupTree::Remove() {
  RemoveAll(folders_);
}

void CgroupTree::RemoveAbandoned() {
  const auto places = OwnCgroups();
  if (!places) return;
  for (const CgroupPlace& place : *places) {
    if (place.version == 1) {
      const UniqueFd base(
          ::open((place.mount + place.path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (base.IsOpen()) RemoveAbandonedIn(base.Get());
    } else if (auto base = FindBase2(place)) {
      RemoveAbandonedIn(base->Get());
    }
  }
}

}  // namespace cwasi::sandbox
