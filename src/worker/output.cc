// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cwasi::worker {
namespace {

// A terminal that was stopped for a moment gets its lines; one that stays stopped must not use up a
// guest's grace (deadline_ticker.h).
constexpr int kWaitMs = 20;

bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
    if (::poll(&ready, 1, kWaitMs) <= 0 || (ready.revents & POLLOUT) == 0) return false;
    // At most a pipe's atomic amount: poll promises room for that much.
    const ssize_t n = ::write(fd, text.data(), std::min<std::size_t>(text.size(), 4096));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

void OutputSink::WriteLine(std::string_view function, std::string_view line) {
  std::string text;
  text.reserve(function.size() + line.size() + 4);
  text.append("[").append(function).append("] ");
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    text.push_back((byte < 0x20 && c != '\t') || byte == 0x7f ? '?' : c);
  }
  text.push_back('\n');
  if (!WriteAll(fd_, text)) ++lost_lines_;
}

void LineBuffer::Append(std::span<const std::byte> bytes, std::string_view function,
                        OutputSink& sink) {
  for (const std::byte b : bytes) {
    const char c = static_cast<char>(b);
    if (c == '\n') {
      sink.WriteLine(function, line_);
      line_.clear();
      continue;
    }
    line_.push_back(c);
    if (line_.size() == kMaxLineBytes) Flush(function, sink);
  }
}

void LineBuffer::Flush(std::string_view function, OutputSink& sink) {
  if (line_.empty()) return;
  sink.WriteLine(function, line_);
  line_.clear();
}

}  // namespace cwasi::worker
