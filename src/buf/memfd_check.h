// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What a descriptor that another process sent must be before its memory is mapped.

#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace cwasi::buf {

enum class MemfdOf : std::uint8_t {
  // A worker of the same trust domain: of fixed size, and we may write it.
  kDomain,
  // Another trust domain: of fixed size, nobody can get a new way to write it, and no seal can be
  // added or is missing. Whoever mapped it before can still write.
  kOtherDomain,
};

// The descriptor may be anything: a pipe, a file of any file system, someone's device. Errors:
// kInvalidArgument: not a memfd of pages of the usual size, not `size_bytes` long, or the wrong
// seals or access mode.
Result<> CheckMemfd(int fd, std::size_t size_bytes, MemfdOf owner);

}  // namespace cwasi::buf
