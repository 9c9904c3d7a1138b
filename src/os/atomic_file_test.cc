// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "os/atomic_file.h"

#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

namespace cwasi::os {
namespace {

class AtomicFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "atomic-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const AtomicFile& file, const std::string& text) {
    ASSERT_EQ(::write(file.Fd(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::size_t Entries() {
    const std::filesystem::directory_iterator all(folder_);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }
  std::string Read(const std::string& name) {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::filesystem::path folder_;
};

TEST_F(AtomicFileTest, AppearsOnlyWhenCommitted) {
  auto file = AtomicFile::Create(folder_ / "a");
  ASSERT_TRUE(file) << file.error().message;
  Write(*file, "new");
  EXPECT_EQ(Entries(), 0U);
  ASSERT_TRUE(file->Commit());
  EXPECT_EQ(Read("a"), "new");
  EXPECT_EQ(Entries(), 1U);
}

TEST_F(AtomicFileTest, ReplacesAnOldFileWhole) {
  std::ofstream(folder_ / "a") << "old";
  {
    auto dropped = AtomicFile::Create(folder_ / "a");
    ASSERT_TRUE(dropped);
    Write(*dropped, "half");
  }
  EXPECT_EQ(Read("a"), "old");
  auto file = AtomicFile::Create(folder_ / "a");
  ASSERT_TRUE(file);
  Write(*file, "new");
  ASSERT_TRUE(file->Commit());
  EXPECT_EQ(Read("a"), "new");
  EXPECT_EQ(Entries(), 1U) << "something is left over";
}

TEST_F(AtomicFileTest, SaysWhyItCannotBe) {
  EXPECT_EQ(AtomicFile::Create(folder_ / "no" / "such").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(AtomicFile::Create(folder_).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(AtomicFile::Create("/proc/cwasi").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace cwasi::os
