// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The Error of a system call that failed.

#pragma once

#include <cerrno>
#include <string>

#include "base/errno_text.h"
#include "base/result.h"

namespace cwasi::sandbox {

inline ErrorCode CodeOf(int sys_errno) {
  switch (sys_errno) {
    case EPERM:
    case EACCES:
    case EROFS:
      return ErrorCode::kPermissionDenied;
    case ENOENT:
      return ErrorCode::kNotFound;
    case EEXIST:
      return ErrorCode::kAlreadyExists;
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
      return ErrorCode::kResourceExhausted;
    case ENOSYS:
      return ErrorCode::kUnimplemented;
    default:
      return ErrorCode::kInternal;
  }
}

// `what` was tried; errno says why it failed.
inline tl::unexpected<Error> FailErrno(const std::string& what) {
  const int failure = errno;
  return Fail(CodeOf(failure), what + ": " + ErrnoText(failure), failure);
}

}  // namespace cwasi::sandbox
