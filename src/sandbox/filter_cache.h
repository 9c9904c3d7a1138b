// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Compiled filters on disk, so that a zygote starts without compiling. An entry is named by the
// digest of what it was compiled from and holds that text too, so two texts of one digest do no
// harm. A program that somebody else could have written is not taken: it decides what a worker may
// do.
//
//   8 bytes "cwasibpf" | u64 bytes of text | u64 instructions | u64 FNV-1a digest of both | text |
//   instructions
//
// In the machine's byte order; the text names the architecture.

#pragma once

#include <linux/filter.h>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace cwasi::sandbox {

// A cache is never needed: what fails in it is as if there were none.
class FilterCacheEntry {
 public:
  // An empty `directory`: no cache. It is made, mode 0700, if it is not there, and not used unless
  // it is ours and only ours to write.
  static FilterCacheEntry Open(const std::filesystem::path& directory, std::string text);

  [[nodiscard]] std::optional<std::vector<sock_filter>> Read() const;
  void Write(std::span<const sock_filter> program) const;

 private:
  FilterCacheEntry(UniqueFd directory, std::string text, std::string name)
      : directory_(std::move(directory)), text_(std::move(text)), name_(std::move(name)) {}

  UniqueFd directory_;
  std::string text_;
  std::string name_;
};

}  // namespace cwasi::sandbox
