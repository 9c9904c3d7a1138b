// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/filter_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

namespace cwasi::sandbox {
namespace {

constexpr std::size_t kMostInstructions = 4096;  // BPF_MAXINSNS

struct Header {
  std::array<char, 8> magic = {'c', 'w', 'a', 's', 'i', 'b', 'p', 'f'};
  std::uint64_t text_bytes = 0;
  std::uint64_t instructions = 0;
  std::uint64_t digest = 0;
};

// FNV-1a, 64 bits: tells damage and names files; it is no protection against anybody.
std::uint64_t Digest(std::string_view bytes, std::uint64_t seed = 0xcbf29ce484222325U) {
  for (const char c : bytes) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return seed;
}

std::uint64_t Digest(const std::string& text, std::span<const sock_filter> program) {
  return Digest({reinterpret_cast<const char*>(program.data()), program.size_bytes()},
                Digest(text));
}

bool OnlyOursToWrite(int fd, mode_t kind) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == kind &&
         status.st_uid == ::geteuid() && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

}  // namespace

FilterCacheEntry FilterCacheEntry::Open(const std::filesystem::path& directory, std::string text) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "filter-%016llx",
                static_cast<unsigned long long>(Digest(text)));
  UniqueFd folder;
  if (!directory.empty()) {
    ::mkdir(directory.c_str(), 0700);
    folder.Reset(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (folder.IsOpen() && !OnlyOursToWrite(folder.Get(), S_IFDIR)) folder.Reset();
  }
  return FilterCacheEntry(std::move(folder), std::move(text), name.data());
}

std::optional<std::vector<sock_filter>> FilterCacheEntry::Read() const {
  if (!directory_.IsOpen()) return std::nullopt;
  const UniqueFd file(
      ::openat(directory_.Get(), name_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.IsOpen() || !OnlyOursToWrite(file.Get(), S_IFREG)) return std::nullopt;
  const Header expected;
  Header header;
  if (::read(file.Get(), &header, sizeof header) != static_cast<ssize_t>(sizeof header) ||
      header.magic != expected.magic || header.text_bytes != text_.size() ||
      header.instructions == 0 || header.instructions > kMostInstructions)
    return std::nullopt;
  std::string text(text_.size(), '\0');
  std::vector<sock_filter> program(header.instructions);
  const auto bytes = std::as_writable_bytes(std::span(program));
  if (::read(file.Get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      text != text_ ||
      ::read(file.Get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
      Digest(text, program) != header.digest)
    return std::nullopt;
  return program;
}

void FilterCacheEntry::Write(std::span<const sock_filter> program) const {
  if (!directory_.IsOpen()) return;
  const Header header{
      .text_bytes = text_.size(), .instructions = program.size(), .digest = Digest(text_, program)};
  std::string content(reinterpret_cast<const char*>(&header), sizeof header);
  content += text_;
  content.append(reinterpret_cast<const char*>(program.data()), program.size_bytes());
  // A reader sees the whole file or none. Of two writers with one number in two pid namespaces one
  // may fail, which is as good.
  const std::string unfinished = ".new-" + name_ + "-" + std::to_string(::getpid());
  const UniqueFd file(::openat(directory_.Get(), unfinished.c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.IsOpen()) return;
  if (::write(file.Get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()) ||
      ::renameat(directory_.Get(), unfinished.c_str(), directory_.Get(), name_.c_str()) != 0)
    ::unlinkat(directory_.Get(), unfinished.c_str(), 0);
}

}  // namespace cwasi::sandbox
