// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One entry of the module cache: what Engine::Compile gave, then a trailer that tells whether the
// file is whole. The engine maps the file as it is and reads nothing past its last section, so a
// trailer disturbs it as little as a second file would, and cannot be torn from its content.
//
//   offset from the end  bytes
//   40                   8      "cwasisum"
//   32                   4      version, 1
//   28                   4      0
//   24                   8      tag: which engine made it
//   16                   8      bytes before the trailer
//    8                   8      XXH64 of them
//
// Little endian. It finds damage, not malice: whoever can write here can run code as this user.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"

namespace cwasi::wasm {

inline constexpr std::size_t kCompiledFileTrailerBytes = 40;

// Writes the file under a name of its own, to the disk, and only then renames it to `name`, 0444.
// Readers see the old file, none or the new one. Errors: by errno (see ErrnoCode).
Result<> WriteCompiledFile(int directory_fd, const std::string& name,
                           std::span<const std::byte> content, std::uint64_t tag);

struct CompiledFileState {
  std::uint64_t content_bytes = 0;
  std::string damage;  // Why it cannot be used; empty if it can.
};
// Reads all of it. Empty if there is no such file. Errors: by errno.
Result<std::optional<CompiledFileState>> CheckCompiledFile(int directory_fd,
                                                           const std::string& name,
                                                           std::uint64_t tag);

// Names of files that WriteCompiledFile left behind if its process ended in it begin so.
inline constexpr char kUnfinishedPrefix[] = ".new-";

// What a caller can do about a failed call on a file.
ErrorCode ErrnoCode(int sys_errno);

}  // namespace cwasi::wasm
