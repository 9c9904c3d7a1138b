// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the kernel says of this process; for tests that count what must not grow.

#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace cwasi::test {

// A sanitizer keeps freed memory (ASan: 256 MiB) and maps more as it goes. What the tests look for,
// one of something for each of 100,000 rounds, is far beyond this slack.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::size_t kSlackMappings = 200;
inline constexpr std::size_t kSlackTablesKib = 4096;
inline constexpr std::size_t kSlackResidentKib = std::size_t{300} << 10U;
inline constexpr bool kSanitized = true;
inline constexpr long kSlackFaults = 100'000;  // Its shadow of what is written.
#else
inline constexpr bool kSanitized = false;
inline constexpr long kSlackFaults = 0;
inline constexpr std::size_t kSlackMappings = 0;
inline constexpr std::size_t kSlackTablesKib = 0;
inline constexpr std::size_t kSlackResidentKib = 0;
#endif

inline std::size_t CountMappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

inline std::size_t CountDescriptors() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(fds), end(fds)));
}

// A field of /proc/self/status in KiB, such as "VmPTE" or "VmRSS".
inline std::size_t StatusKib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(field + ":", 0) == 0) return std::stoul(line.substr(field.size() + 1));
  return 0;
}

// A field of /proc/self/smaps_rollup in KiB, such as "Pss".
inline std::size_t SmapsRollupKib(const std::string& field) {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);)
    if (line.rfind(field + ":", 0) == 0) return std::stoul(line.substr(field.size() + 1));
  return 0;
}

// This process's proportional share of the memory in mappings of files with `name`, in KiB.
inline std::size_t PssKibOf(const std::string& name) {
  std::ifstream smaps("/proc/self/smaps");
  std::size_t sum = 0;
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    // A mapping's first line begins with its address in lower case, a field with a capital.
    if (!line.empty() && (std::isupper(static_cast<unsigned char>(line[0])) == 0))
      inside = line.find(name) != std::string::npos;
    if (inside && line.rfind("Pss:", 0) == 0) sum += std::stoul(line.substr(4));
  }
  return sum;
}

// The line VmFlags of the mapping that begins at `address`; empty if none does.
inline std::string MappingFlags(const std::byte* address) {
  std::ifstream smaps("/proc/self/smaps");
  std::ostringstream start;
  start << std::hex << reinterpret_cast<std::uintptr_t>(address) << '-';
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.rfind(start.str(), 0) == 0) inside = true;
    if (inside && line.rfind("VmFlags:", 0) == 0) return line;
  }
  return "";
}

// Faults of this process that needed no reading from a disk.
inline long MinorFaults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// The entries of /proc/self/pagemap for the pages at `address`; empty if they cannot be read. By
// one read of whole entries: the kernel refuses others, such as a stream's buffer makes.
// Source: Documentation/admin-guide/mm/pagemap.rst.
inline std::vector<std::uint64_t> PagemapEntries(const std::byte* address, std::size_t bytes) {
  std::vector<std::uint64_t> entries(bytes / 4096);
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const auto at = reinterpret_cast<std::uintptr_t>(address) / 4096 * 8;
  const std::size_t wanted = entries.size() * 8;
  std::size_t done = 0;
  while (done < wanted) {
    const ssize_t n = ::pread(pagemap.Get(), reinterpret_cast<char*>(entries.data()) + done,
                              wanted - done, static_cast<off_t>(at + done));
    if (n <= 0) return {};
    done += static_cast<std::size_t>(n);
  }
  return entries;
}

// How many of the pages there have an entry in this process's page tables.
inline std::size_t CountPresent(const std::byte* address, std::size_t bytes) {
  const auto entries = PagemapEntries(address, bytes);
  return static_cast<std::size_t>(std::count_if(
      entries.begin(), entries.end(), [](std::uint64_t entry) { return (entry >> 63U) != 0; }));
}

// Page frame numbers of the pages at `address`; empty unless we may see them (root). Pages not
// present count as 0.
inline std::vector<std::uint64_t> PageFrames(const std::byte* address, std::size_t bytes) {
  auto frames = PagemapEntries(address, bytes);
  bool any = false;
  for (auto& entry : frames) {
    const bool present = (entry >> 63U) != 0;
    entry = present ? entry & ((std::uint64_t{1} << 55U) - 1) : 0;
    any = any || entry != 0;
  }
  if (!any) frames.clear();
  return frames;
}

}  // namespace cwasi::test
