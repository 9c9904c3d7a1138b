// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include <gtest/gtest.h>

#include "base/unique_fd.h"

namespace cwasi::worker {
namespace {

class OutputTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    in_.Reset(ends[0]);
    out_.Reset(ends[1]);
  }
  std::string Read() {
    std::string text(200'000, '\0');
    const ssize_t n = ::read(in_.Get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  void Print(OutputSink& sink, std::string_view text) {
    buffer_.Append(std::as_bytes(std::span(text.data(), text.size())), "f", sink);
  }
  UniqueFd in_;
  UniqueFd out_;
  LineBuffer buffer_;
};

TEST_F(OutputTest, WritesWholeLinesUnderTheFunctionsName) {
  OutputSink sink(out_.Get());
  Print(sink, "a");
  EXPECT_EQ(Read(), "");
  Print(sink, "b\nc\n\nd");
  EXPECT_EQ(Read(), "[f] ab\n[f] c\n[f] \n");
  buffer_.Flush("f", sink);
  EXPECT_EQ(Read(), "[f] d\n");
}

TEST_F(OutputTest, CannotDriveATerminal) {
  OutputSink sink(out_.Get());
  Print(sink, std::string_view("\x1b[2Jx\0y\r\t\x7f\n", 11));
  EXPECT_EQ(Read(), "[f] ?[2Jx?y?\t?\n");
}

TEST_F(OutputTest, BreaksEndlessLines) {
  OutputSink sink(out_.Get());
  Print(sink, std::string(LineBuffer::kMaxLineBytes + 1, 'x'));
  buffer_.Flush("f", sink);
  EXPECT_EQ(Read(), "[f] " + std::string(LineBuffer::kMaxLineBytes, 'x') + "\n[f] x\n");
}

TEST_F(OutputTest, CountsWhatNobodyReadsAndGoesOn) {
  OutputSink sink(out_.Get());
  for (int i = 0; i < 40 && sink.LostLines() == 0; ++i) Print(sink, std::string(4000, 'y') + "\n");
  EXPECT_GT(sink.LostLines(), 0U);
}

}  // namespace
}  // namespace cwasi::worker
