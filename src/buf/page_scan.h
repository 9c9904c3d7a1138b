// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// PageScanner: finds the pages that a guest wrote in a copy-on-write mapping, and drops them.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "base/unique_fd.h"

namespace cwasi::buf {

// By PAGEMAP_SCAN (Linux 6.7). Without it, or without /proc, everything is dropped and nothing is
// counted.
//
// Looks only at the process that made it: a child's calls work as if without PAGEMAP_SCAN. So a
// worker makes its own after the fork, in a sandbox from a descriptor opened before /proc went.
//
// Thread: the worker's guest thread.
class PageScanner {
 public:
  // kNever: as on a kernel that cannot.
  enum class Use : unsigned char { kIfAvailable, kNever };
  explicit PageScanner(Use use = Use::kIfAvailable);
  // `pagemap`: the calling process's own.
  explicit PageScanner(UniqueFd pagemap);

  // Drops the private pages of [at, at + size_bytes), a private mapping of a file: it shows the
  // file's bytes again. How many there were, if that is known.
  std::optional<std::size_t> DropPrivatePages(std::byte* at, std::size_t size_bytes);

 private:
  struct Range {
    std::byte* at;
    std::size_t bytes;
  };
  // False if the kernel does not say.
  bool FindPrivatePages(std::byte* at, std::size_t size_bytes);

  UniqueFd pagemap_;
  pid_t process_ = 0;
  std::vector<Range> found_;
};

}  // namespace cwasi::buf
