// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "base/errno_text.h"

namespace cwasi::os {
namespace {

tl::unexpected<Error> Failed(const char* what, const std::filesystem::path& path, int error) {
  ErrorCode code = ErrorCode::kResourceExhausted;
  if (error == ENOENT || error == ENOTDIR) code = ErrorCode::kNotFound;
  if (error == EACCES || error == EPERM || error == EROFS) code = ErrorCode::kPermissionDenied;
  if (error == EISDIR || error == EEXIST || error == ENAMETOOLONG)
    code = ErrorCode::kInvalidArgument;
  return Fail(code, std::string(what) + " " + path.string() + ": " + ErrnoText(error), error);
}

std::filesystem::path FolderOf(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// A hidden name in the same folder that was free a moment ago.
Result<std::filesystem::path> FreeName(const std::filesystem::path& path, UniqueFd* fd) {
  std::string name = (FolderOf(path) / ".cwasi-XXXXXX").string();
  fd->Reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd->IsOpen()) return Failed("create", path, errno);
  return std::filesystem::path(name);
}

}  // namespace

Result<AtomicFile> AtomicFile::Create(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored) || !path.has_filename())
    return Failed("create", path, EISDIR);
  UniqueFd fd(::open(FolderOf(path).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
  if (fd.IsOpen()) return AtomicFile(std::move(fd), path, {});
  if (errno != EOPNOTSUPP && errno != EISDIR) return Failed("create", path, errno);
  TRY_SET(auto temporary, FreeName(path, &fd));
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(fd.Get(), 0666 & ~mask);
  return AtomicFile(std::move(fd), path, std::move(temporary));
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<> AtomicFile::Commit() {
  if (temporary_.empty()) {
    const std::string self = "/proc/self/fd/" + std::to_string(fd_.Get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      fd_.Reset();
      return {};
    }
    if (errno != EEXIST) return Failed("create", path_, errno);
    // linkat replaces nothing: a free name first, then a rename over the old file.
    UniqueFd unused;
    TRY_SET(auto temporary, FreeName(path_, &unused));
    ::unlink(temporary.c_str());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0)
      return Failed("create", path_, errno);
    temporary_ = std::move(temporary);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return Failed("replace", path_, errno);
  temporary_.clear();
  fd_.Reset();
  return {};
}

}  // namespace cwasi::os
