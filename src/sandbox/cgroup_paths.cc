// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/cgroup_paths.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>

#include "sandbox/failure.h"

namespace cwasi::sandbox {
namespace {

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool Contains(std::string_view list, char separator, std::string_view item) {
  const auto parts = Split(list, separator);
  return std::find(parts.begin(), parts.end(), item) != parts.end();
}

struct Mount {
  std::string_view root;  // What of the hierarchy is mounted.
  std::string_view where;
};

// "36 35 98:0 /root /mount/point options - type source super,options"
std::optional<Mount> ParseMount(std::string_view line, std::string_view type,
                                std::string_view controller) {
  const auto dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto before = Split(line.substr(0, dash), ' ');
  const auto after = Split(line.substr(dash + 3), ' ');
  if (before.size() < 5 || after.size() < 3 || after[0] != type) return std::nullopt;
  if (!controller.empty() && !Contains(after[2], ',', controller)) return std::nullopt;
  return Mount{.root = before[3], .where = before[4]};
}

std::optional<Mount> FindMount(std::string_view mountinfo, std::string_view type,
                               std::string_view controller) {
  for (const auto line : Split(mountinfo, '\n'))
    if (auto mount = ParseMount(line, type, controller)) return mount;
  return std::nullopt;
}

// The path below the mount; absent if it lies outside of what is mounted.
std::optional<std::string> Below(const Mount& mount, std::string_view path) {
  if (mount.root == "/") return std::string(path);
  if (path.substr(0, mount.root.size()) != mount.root) return std::nullopt;
  const auto rest = path.substr(mount.root.size());
  if (!rest.empty() && rest.front() != '/') return std::nullopt;
  return std::string(rest.empty() ? "/" : rest);
}

Result<std::string> ReadAll(const char* path) {
  std::ifstream file(path);
  if (!file) return FailErrno(std::string("open ") + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::vector<CgroupPlace> FindCgroups(std::string_view cgroup, std::string_view mountinfo) {
  std::vector<CgroupPlace> places;
  for (const auto line : Split(cgroup, '\n')) {
    // "4:memory:/path", "0::/path"
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    CgroupPlace place;
    place.version = controllers.empty() ? 2 : 1;
    place.memory = place.version == 2 || Contains(controllers, ',', "memory");
    place.pids = place.version == 2 || Contains(controllers, ',', "pids");
    if (!place.memory && !place.pids) continue;
    const auto mount = place.version == 2
                           ? FindMount(mountinfo, "cgroup2", "")
                           : FindMount(mountinfo, "cgroup", place.memory ? "memory" : "pids");
    if (!mount) continue;
    auto path = Below(*mount, line.substr(second + 1));
    if (!path) continue;
    place.mount = mount->where;
    place.path = std::move(*path);
    places.push_back(std::move(place));
  }
  return places;
}

Result<std::vector<CgroupPlace>> OwnCgroups() {
  TRY_SET(const auto cgroup, ReadAll("/proc/self/cgroup"));
  TRY_SET(const auto mountinfo, ReadAll("/proc/self/mountinfo"));
  auto places = FindCgroups(cgroup, mountinfo);
  for (CgroupPlace& place : places) {
    if (place.version == 1) continue;
    std::ifstream file(place.mount + place.path + "/cgroup.controllers");
    std::string controllers;
    std::getline(file, controllers);
    place.memory = Contains(controllers, ' ', "memory");
    place.pids = Contains(controllers, ' ', "pids");
  }
  // A hybrid machine's version 2 has no controllers.
  std::erase_if(places, [](const CgroupPlace& place) { return !place.memory && !place.pids; });
  return places;
}

}  // namespace cwasi::sandbox
