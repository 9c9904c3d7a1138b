// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What guests print: whole lines under the function's name, so that output of several functions and
// our own never mixes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cwasi::worker {

// Where lines go. Writes are bounded in time: a reader that does not read loses lines, which are
// counted, but stops no guest.
class OutputSink {
 public:
  // `fd` is not owned.
  explicit OutputSink(int fd) : fd_(fd) {}
  // "[function] line\n". Control characters but tabs are shown as '?'.
  void WriteLine(std::string_view function, std::string_view line);
  [[nodiscard]] std::uint64_t LostLines() const { return lost_lines_; }

 private:
  int fd_;
  std::uint64_t lost_lines_ = 0;
};

// Cuts one descriptor's bytes into lines. Longer ones than kMaxLineBytes are broken.
class LineBuffer {
 public:
  static constexpr std::size_t kMaxLineBytes = 4096;
  void Append(std::span<const std::byte> bytes, std::string_view function, OutputSink& sink);
  // What is left without a newline.
  void Flush(std::string_view function, OutputSink& sink);

 private:
  std::string line_;
};

}  // namespace cwasi::worker
