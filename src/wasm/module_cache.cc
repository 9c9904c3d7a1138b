// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/module_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "wasm/compiled_file.h"
#include "wasm/digest.h"

namespace cwasi::wasm {
namespace {

constexpr const char* kSuffix = ".cwasm";
constexpr std::size_t kSha256Digits = 64;
constexpr std::size_t kMaxSeen = 10000;
constexpr std::time_t kUnfinishedSeconds = 3600;

tl::unexpected<Error> FailErrno(const std::string& what) {
  const int failure = errno;
  return Fail(ErrnoCode(failure), what + ": " + std::generic_category().message(failure), failure);
}

std::string Variable(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets variables
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

// 64 bits of it name the engine in a file's name and in its trailer.
std::uint64_t TagOf(const Engine& engine) {
  Xxh64 hash;
  hash.Update(std::as_bytes(std::span(engine.Fingerprint())));
  return hash.Value();
}

std::string EntryName(const std::string& sha256, std::uint64_t tag) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "-%016llx", static_cast<unsigned long long>(tag));
  return sha256 + text.data() + kSuffix;
}

bool IsSha256(std::string_view text) {
  return text.size() == kSha256Digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Changes whenever the content may have: any write sets ctime, and nobody can set it back.
std::string Identity(const struct stat& status) {
  std::array<char, 192> text{};
  std::snprintf(text.data(), text.size(), "%llx-%llx-%llx-%llx.%lx-%llx.%lx",
                static_cast<unsigned long long>(status.st_dev),
                static_cast<unsigned long long>(status.st_ino),
                static_cast<unsigned long long>(status.st_size),
                static_cast<unsigned long long>(status.st_mtim.tv_sec),
                static_cast<unsigned long>(status.st_mtim.tv_nsec),
                static_cast<unsigned long long>(status.st_ctim.tv_sec),
                static_cast<unsigned long>(status.st_ctim.tv_nsec));
  return text.data();
}

Result<UniqueFd> OpenDirectory(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.IsOpen()) return FailErrno("open module cache " + path.string());
  struct stat status{};
  if (::fstat(fd.Get(), &status) != 0) return FailErrno("stat module cache " + path.string());
  if (status.st_uid != ::geteuid()) {
    return Fail(ErrorCode::kPermissionDenied,
                "open module cache " + path.string() +
                    ": it belongs to another user; set CWASI_CACHE_DIR to a folder of your own");
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Fail(ErrorCode::kPermissionDenied,
                "open module cache " + path.string() +
                    ": others may write it, and could run code as you; chmod go-w it");
  }
  return fd;
}

Result<> MakeDirectories(const std::filesystem::path& path) {
  std::filesystem::path made;
  for (const auto& part : path) {
    made /= part;
    if (::mkdir(made.c_str(), 0700) == 0 || errno == EEXIST) continue;
    // Above us may be folders in which nobody may make one, not even one that exists.
    const int failure = errno;
    std::error_code ignored;
    if (std::filesystem::is_directory(made, ignored)) continue;
    errno = failure;
    return FailErrno("make module cache " + path.string() + " (at " + made.string() + ")");
  }
  return {};
}

struct Entry {
  std::string name;
  std::uint64_t bytes = 0;
  std::time_t used = 0;  // Last read, as far as the file system tells, or made.
};

// Names in a directory and what is known of them; what vanishes meanwhile is left out.
std::vector<Entry> List(int directory_fd) {
  std::vector<Entry> entries;
  const int fd = ::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return entries;
  const auto close = [](DIR* stream) { ::closedir(stream); };
  const std::unique_ptr<DIR, decltype(close)> stream(::fdopendir(fd), close);
  if (!stream) {
    ::close(fd);
    return entries;
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of our own
  while (const dirent* item = ::readdir(stream.get())) {
    struct stat status{};
    if (::fstatat(directory_fd, item->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode)) continue;
    entries.push_back({.name = item->d_name,
                       .bytes = static_cast<std::uint64_t>(status.st_size),
                       .used = std::max(status.st_atim.tv_sec, status.st_mtim.tv_sec)});
  }
  return entries;
}

}  // namespace

// The .wasm file.
struct ModuleCache::Source {
  std::filesystem::path path;
  UniqueFd fd;
  struct stat status{};  // When it was opened.
  std::vector<std::byte> bytes;
  std::string sha256;  // Of `bytes`; empty before Read.

  static Result<Source> Open(const std::filesystem::path& path, std::uint64_t limit_bytes) {
    Source source;
    source.path = path;
    // Not blocking: a FIFO without a writer would keep us for ever.
    source.fd.Reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!source.fd.IsOpen()) return FailErrno("open module " + path.string());
    if (::fstat(source.fd.Get(), &source.status) != 0) {
      return FailErrno("stat module " + path.string());
    }
    if (!S_ISREG(source.status.st_mode)) {
      return Fail(ErrorCode::kInvalidArgument,
                  "open module " + path.string() + ": not a regular file");
    }
    if (static_cast<std::uint64_t>(source.status.st_size) > limit_bytes) {
      return Fail(ErrorCode::kInvalidArgument,
                  "open module " + path.string() + ": " + std::to_string(source.status.st_size) +
                      " bytes; the limit is " + std::to_string(limit_bytes));
    }
    return source;
  }

  // Once. At most the size it had when opened; a file that shrank gives less.
  Result<> Read() {
    if (!sha256.empty()) return {};
    bytes.resize(static_cast<std::size_t>(status.st_size));
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got =
          ::pread(fd.Get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return FailErrno("read module " + path.string());
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    bytes.resize(done);
    sha256 = Sha256Hex(bytes);
    return {};
  }
};

Result<std::filesystem::path> ModuleCache::DefaultDirectory() {
  std::filesystem::path base = Variable("CWASI_CACHE_DIR");
  if (base.empty()) {
    std::filesystem::path above = Variable("XDG_CACHE_HOME");
    // Relative ones are to be ignored (XDG Base Directory Specification 0.8).
    if (above.is_relative()) above.clear();
    if (above.empty()) {
      const std::string home = Variable("HOME");
      if (home.empty()) {
        return Fail(
            ErrorCode::kFailedPrecondition,
            "no folder for compiled modules: set CWASI_CACHE_DIR (or XDG_CACHE_HOME, HOME)");
      }
      above = std::filesystem::path(home) / ".cache";
    }
    base = above / "cwasi";
  }
  return std::filesystem::absolute(base) / "modules";
}

ModuleCache::ModuleCache(std::filesystem::path directory, UniqueFd directory_fd, UniqueFd seen_fd,
                         const ModuleCacheLimits& limits)
    : directory_(std::move(directory)),
      directory_fd_(std::move(directory_fd)),
      seen_fd_(std::move(seen_fd)),
      limits_(limits) {}

Result<ModuleCache> ModuleCache::Open(const std::filesystem::path& directory,
                                      const ModuleCacheLimits& limits) {
  TRY(MakeDirectories(directory / "seen"));
  TRY_SET(UniqueFd directory_fd, OpenDirectory(directory));
  TRY_SET(UniqueFd seen_fd, OpenDirectory(directory / "seen"));
  return ModuleCache(directory, std::move(directory_fd), std::move(seen_fd), limits);
}

Result<bool> ModuleCache::Find(const Engine& engine, CachedModule& module) const {
  const std::uint64_t tag = TagOf(engine);
  const std::string name = EntryName(module.sha256, tag);
  module.path = directory_ / name;
  auto state = CheckCompiledFile(directory_fd_.Get(), name, tag);
  if (!state) {
    state.error().message =
        "module cache entry " + module.path.string() + ": " + state.error().message;
    return tl::unexpected(std::move(state).error());
  }
  const std::optional<CompiledFileState>& found = *state;
  if (!found) return false;
  if (!found->damage.empty()) {
    module.notice = "compiled " + module.path.string() + " again: " + found->damage;
    return false;
  }
  module.compiled_bytes = found->content_bytes;
  return true;
}

Result<> ModuleCache::Store(Engine& engine, const Source& source, CachedModule& module) const {
  module.sha256 = source.sha256;
  TRY_SET(const std::vector<std::byte> compiled,
          engine.Compile(source.bytes, source.path.string()));
  const std::uint64_t tag = TagOf(engine);
  const std::string name = EntryName(module.sha256, tag);
  module.path = directory_ / name;
  if (auto written = WriteCompiledFile(directory_fd_.Get(), name, compiled, tag); !written) {
    written.error().message =
        "module cache entry " + module.path.string() + ": " + written.error().message;
    return tl::unexpected(std::move(written).error());
  }
  module.wasm_bytes = source.bytes.size();
  module.compiled_bytes = compiled.size();
  module.compiled_now = true;
  Trim(name);
  return {};
}

std::string ModuleCache::Recall(const Source& source) const {
  std::array<char, kSha256Digits + 1> target{};
  const ssize_t length =
      ::readlinkat(seen_fd_.Get(), Identity(source.status).c_str(), target.data(), target.size());
  if (length < 0) return {};
  const std::string_view text(target.data(), static_cast<std::size_t>(length));
  return std::string(IsSha256(text) ? text : std::string_view());
}

void ModuleCache::Remember(const Source& source) const {
  struct stat status{};
  timespec now{};
  if (::fstat(source.fd.Get(), &status) != 0 || ::clock_gettime(CLOCK_REALTIME, &now) != 0) return;
  const std::string identity = Identity(source.status);
  const std::time_t changed = std::max(status.st_mtim.tv_sec, status.st_ctim.tv_sec);
  if (Identity(status) != identity || now.tv_sec - changed < limits_.settled.count()) return;
  // A link is made with its target, so none is ever half there. If it fails, the file is read
  // again.
  [[maybe_unused]] const int ignored =
      ::symlinkat(source.sha256.c_str(), seen_fd_.Get(), identity.c_str());
}

void ModuleCache::Trim(const std::string& keep) const {
  std::vector<Entry> entries = List(directory_fd_.Get());
  std::ranges::sort(entries, std::greater(), &Entry::used);
  const std::time_t now = std::time(nullptr);
  std::uint64_t total_bytes = 0;
  for (const Entry& entry : entries) {
    const bool unfinished = entry.name.starts_with(kUnfinishedPrefix);
    if (unfinished ? now - entry.used < kUnfinishedSeconds : !entry.name.ends_with(kSuffix)) {
      continue;
    }
    total_bytes += entry.bytes;
    if (unfinished || (total_bytes > limits_.directory_bytes && entry.name != keep)) {
      ::unlinkat(directory_fd_.Get(), entry.name.c_str(), 0);
      total_bytes -= entry.bytes;
    }
  }
  const std::vector<Entry> seen = List(seen_fd_.Get());
  if (seen.size() <= kMaxSeen) return;
  for (const Entry& entry : seen) ::unlinkat(seen_fd_.Get(), entry.name.c_str(), 0);
}

Result<CachedModule> ModuleCache::GetOrCompile(Engine& engine,
                                               const std::filesystem::path& wasm) const {
  const MonotonicNs begin = Now();
  TRY_SET(Source source, Source::Open(wasm, limits_.wasm_bytes));
  CachedModule module;
  module.wasm_bytes = static_cast<std::uint64_t>(source.status.st_size);
  module.sha256 = Recall(source);
  if (module.sha256.empty()) {
    TRY(source.Read());
    module.sha256 = source.sha256;
    module.wasm_bytes = source.bytes.size();
    Remember(source);
  }
  TRY_SET(const bool found, Find(engine, module));
  if (!found) {
    TRY(source.Read());
    TRY(Store(engine, source, module));
  }
  module.duration = std::chrono::nanoseconds(Now() - begin);
  return module;
}

Result<CachedModule> ModuleCache::Compile(Engine& engine, const std::filesystem::path& wasm) const {
  const MonotonicNs begin = Now();
  TRY_SET(Source source, Source::Open(wasm, limits_.wasm_bytes));
  CachedModule module;
  TRY(source.Read());
  TRY(Store(engine, source, module));
  module.duration = std::chrono::nanoseconds(Now() - begin);
  return module;
}

}  // namespace cwasi::wasm
