// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace cwasi::os {

Result<UniqueFd> CreateSealedMemfd(const std::string& name, std::size_t size_bytes) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.IsOpen()) return Fail(ErrorCode::kResourceExhausted, "create memfd " + name, errno);
  if (::ftruncate(fd.Get(), static_cast<off_t>(size_bytes)) != 0 ||
      ::fcntl(fd.Get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
    return Fail(ErrorCode::kResourceExhausted, "size and seal memfd " + name, errno);
  return fd;
}

}  // namespace cwasi::os
