// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/memfd_check.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <string>

namespace cwasi::buf {

Result<> CheckMemfd(int fd, std::size_t size_bytes, MemfdOf owner) {
  // Before all else: only memfds and files of tmpfs and hugetlbfs have seals, and asking a file for
  // its seals does nothing else to it (F_GET_SEALS, fcntl(2)).
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return Fail(ErrorCode::kInvalidArgument, "a segment: no memfd", errno);
  struct statfs system = {};
  if (::fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
    return Fail(ErrorCode::kInvalidArgument, "a segment: no memfd of ordinary pages");
  struct stat status = {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != size_bytes)
    return Fail(ErrorCode::kInvalidArgument, "a segment: " + std::to_string(status.st_size) +
                                                 " bytes long, not " + std::to_string(size_bytes));
  constexpr int kFixedSize = F_SEAL_SHRINK | F_SEAL_GROW;
  constexpr int kNoNewWriter = F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  const int wanted = owner == MemfdOf::kDomain ? kFixedSize : kFixedSize | kNoNewWriter;
  const int refused = owner == MemfdOf::kDomain ? F_SEAL_WRITE | F_SEAL_FUTURE_WRITE : 0;
  if ((seals & wanted) != wanted || (seals & refused) != 0)
    return Fail(ErrorCode::kInvalidArgument, "a segment: seals " + std::to_string(seals));
  const int flags = ::fcntl(fd, F_GETFL);
  const int mode = flags & O_ACCMODE;
  if (flags < 0 || (flags & O_PATH) != 0 || mode == O_WRONLY ||
      (owner == MemfdOf::kDomain && mode != O_RDWR))
    return Fail(ErrorCode::kInvalidArgument, "a segment: access mode " + std::to_string(mode));
  return {};
}

}  // namespace cwasi::buf
