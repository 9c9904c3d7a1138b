// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "wasm/compiled_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "wasm/digest.h"

namespace cwasi::wasm {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t kVersion = 1;
constexpr std::array<char, 8> kMagic = {'c', 'w', 'a', 's', 'i', 's', 'u', 'm'};
constexpr std::size_t kReadBytes = std::size_t{256} << 10;

struct Trailer {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t zero = 0;
  std::uint64_t tag = 0;
  std::uint64_t content_bytes = 0;
  std::uint64_t checksum = 0;
};
static_assert(sizeof(Trailer) == kCompiledFileTrailerBytes);

tl::unexpected<Error> FailErrno(const std::string& what) {
  const int failure = errno;
  return Fail(ErrnoCode(failure), what + ": " + std::generic_category().message(failure), failure);
}

Result<> WriteAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FailErrno("write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

// Removes the unfinished file unless it has got its name.
class UnfinishedFile {
 public:
  UnfinishedFile(int directory_fd, std::string name)
      : directory_fd_(directory_fd), name_(std::move(name)) {}
  UnfinishedFile(const UnfinishedFile&) = delete;
  UnfinishedFile& operator=(const UnfinishedFile&) = delete;
  UnfinishedFile(UnfinishedFile&&) = delete;
  UnfinishedFile& operator=(UnfinishedFile&&) = delete;
  ~UnfinishedFile() {
    if (!renamed_) ::unlinkat(directory_fd_, name_.c_str(), 0);
  }
  Result<> RenameTo(const std::string& name) {
    if (::renameat(directory_fd_, name_.c_str(), directory_fd_, name.c_str()) != 0) {
      return FailErrno("rename");
    }
    renamed_ = true;
    return {};
  }

 private:
  int directory_fd_;
  std::string name_;
  bool renamed_ = false;
};

Result<std::string> UnfinishedName() {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof(random), 0) != static_cast<ssize_t>(sizeof(random))) {
    return FailErrno("getrandom");
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(random));
  return std::string(kUnfinishedPrefix) + text.data();
}

// Fewer bytes than asked for: the file ends before.
Result<std::size_t> ReadAt(int fd, std::span<std::byte> into, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got =
        ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno("read");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

// Empty: as it was written.
Result<std::string> DamageOf(int fd, std::uint64_t file_bytes, std::uint64_t tag) {
  if (file_bytes <= sizeof(Trailer)) return std::string("it is truncated");
  const std::uint64_t content_bytes = file_bytes - sizeof(Trailer);
  Trailer trailer;
  TRY_SET(const std::size_t got,
          ReadAt(fd, std::as_writable_bytes(std::span(&trailer, 1)), content_bytes));
  if (got != sizeof(trailer) || trailer.magic != kMagic || trailer.content_bytes != content_bytes) {
    return std::string("it is truncated or not ours");
  }
  if (trailer.version != kVersion || trailer.tag != tag) {
    return std::string("another version made it");
  }
  Xxh64 checksum;
  std::vector<std::byte> buffer(std::min<std::uint64_t>(kReadBytes, content_bytes));
  for (std::uint64_t offset = 0; offset < content_bytes;) {
    const auto part = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), content_bytes - offset)));
    TRY_SET(const std::size_t read, ReadAt(fd, part, offset));
    if (read != part.size()) return std::string("it is truncated");
    checksum.Update(part);
    offset += read;
  }
  if (checksum.Value() != trailer.checksum) return std::string("its checksum is wrong");
  return std::string();
}

}  // namespace

ErrorCode ErrnoCode(int sys_errno) {
  switch (sys_errno) {
    case ENOENT:
      return ErrorCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return ErrorCode::kResourceExhausted;
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return ErrorCode::kInvalidArgument;
    default:
      return ErrorCode::kInternal;
  }
}

Result<> WriteCompiledFile(int directory_fd, const std::string& name,
                           std::span<const std::byte> content, std::uint64_t tag) {
  TRY_SET(const std::string unfinished_name, UnfinishedName());
  const UniqueFd fd(::openat(directory_fd, unfinished_name.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.IsOpen()) return FailErrno("create file");
  UnfinishedFile unfinished(directory_fd, unfinished_name);
  Xxh64 checksum;
  checksum.Update(content);
  const Trailer trailer{.tag = tag, .content_bytes = content.size(), .checksum = checksum.Value()};
  TRY(WriteAll(fd.Get(), content));
  TRY(WriteAll(fd.Get(), std::as_bytes(std::span(&trailer, 1))));
  if (::fchmod(fd.Get(), 0444) != 0) return FailErrno("chmod");
  if (::fsync(fd.Get()) != 0) return FailErrno("fsync");
  return unfinished.RenameTo(name);
}

Result<std::optional<CompiledFileState>> CheckCompiledFile(int directory_fd,
                                                           const std::string& name,
                                                           std::uint64_t tag) {
  // Not blocking: it might have become a FIFO.
  const UniqueFd fd(
      ::openat(directory_fd, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.IsOpen() && errno == ENOENT) return std::nullopt;
  if (!fd.IsOpen() && errno == ELOOP)
    return CompiledFileState{.content_bytes = 0, .damage = "it is a symbolic link"};
  if (!fd.IsOpen()) return FailErrno("open");
  struct stat status{};
  if (::fstat(fd.Get(), &status) != 0) return FailErrno("stat");
  if (!S_ISREG(status.st_mode))
    return CompiledFileState{.content_bytes = 0, .damage = "it is not a regular file"};
  const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
  TRY_SET(std::string damage, DamageOf(fd.Get(), file_bytes, tag));
  if (!damage.empty()) return CompiledFileState{.content_bytes = 0, .damage = std::move(damage)};
  return CompiledFileState{.content_bytes = file_bytes - sizeof(Trailer), .damage = {}};
}

}  // namespace cwasi::wasm
