// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// AtomicFile: a file that appears whole or not at all, and of which nothing is left if the process
// dies.

#pragma once

#include <filesystem>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::os {

// Thread: one. Destruction without Commit leaves nothing.
class AtomicFile {
 public:
  // In the folder of `path`, which must exist. Where the file system has no unnamed files
  // (O_TMPFILE) a hidden one is used, and only then can a killed process leave one. Errors:
  // kNotFound, kPermissionDenied, kInvalidArgument (the path is a folder), kResourceExhausted.
  static Result<AtomicFile> Create(const std::filesystem::path& path);
  AtomicFile(AtomicFile&& other) noexcept
      : fd_(std::move(other.fd_)),
        path_(std::move(other.path_)),
        temporary_(std::exchange(other.temporary_, {})) {}
  AtomicFile& operator=(AtomicFile&&) = delete;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  [[nodiscard]] int Fd() const { return fd_.Get(); }
  // Gives the file its name, over one that is there. Mode 0666 less the umask. Errors: as Create.
  Result<> Commit();

 private:
  AtomicFile(UniqueFd fd, std::filesystem::path path, std::filesystem::path temporary)
      : fd_(std::move(fd)), path_(std::move(path)), temporary_(std::move(temporary)) {}

  UniqueFd fd_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // Empty while unnamed.
};

}  // namespace cwasi::os
