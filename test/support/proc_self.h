// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the kernel says of this process; for tests that count what must not grow.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace cwasi::test {

// A sanitizer keeps freed memory (ASan: 256 MiB) and maps more as it goes. What the tests look for,
// one of something for each of 100,000 rounds, is far beyond this slack.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::size_t kSlackMappings = 200;
inline constexpr std::size_t kSlackTablesKib = 4096;
inline constexpr std::size_t kSlackResidentKib = std::size_t{300} << 10U;
#else
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

// Page frame numbers of the pages at `address`; empty unless we may see them (root). Pages not
// present count as 0. Source: Documentation/admin-guide/mm/pagemap.rst.
inline std::vector<std::uint64_t> PageFrames(const std::byte* address, std::size_t bytes) {
  std::vector<std::uint64_t> frames(bytes / 4096);
  std::ifstream pagemap("/proc/self/pagemap", std::ios::binary);
  pagemap.seekg(static_cast<std::streamoff>(reinterpret_cast<std::uintptr_t>(address) / 4096 * 8));
  pagemap.read(reinterpret_cast<char*>(frames.data()),
               static_cast<std::streamsize>(frames.size() * 8));
  if (!pagemap) return {};
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
