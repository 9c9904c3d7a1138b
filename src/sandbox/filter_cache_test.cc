// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/filter_cache.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sandbox/worker_filter.h"
#include "test/support/must.h"
#include "test/support/temp_dir.h"

namespace cwasi::sandbox {
namespace {

const std::vector<sock_filter> kProgram = {{.code = 0x20, .jt = 0, .jf = 0, .k = 4},
                                           {.code = 0x06, .jt = 0, .jf = 0, .k = 0x7fff0000}};

class FilterCacheTest : public testing::Test {
 protected:
  [[nodiscard]] FilterCacheEntry Open(const std::string& text) const {
    return FilterCacheEntry::Open(folder_, text);
  }
  [[nodiscard]] std::filesystem::path OnlyFile() const {
    return std::filesystem::directory_iterator(folder_)->path();
  }
  test::TempDir parent_;
  std::filesystem::path folder_ = parent_.Path() / "filters";
};

TEST_F(FilterCacheTest, GivesBackWhatWasWrittenForTheSameRules) {
  Open("rules").Write(kProgram);
  const auto read = test::Must(Open("rules").Read());
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[1].k, kProgram[1].k);
  EXPECT_FALSE(Open("other rules").Read());
  struct stat status{};
  ASSERT_EQ(::stat(folder_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0700U);
}

TEST_F(FilterCacheTest, DamageIsNoticed) {
  Open("rules").Write(kProgram);
  const auto size = std::filesystem::file_size(OnlyFile());
  for (std::uintmax_t at = 0; at < size; ++at) {
    std::fstream file(OnlyFile(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const auto byte = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ 1)).flush();
    EXPECT_FALSE(Open("rules").Read()) << at;
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte).flush();
  }
  EXPECT_TRUE(Open("rules").Read());
  std::filesystem::resize_file(OnlyFile(), size - 1);
  EXPECT_FALSE(Open("rules").Read());
  std::filesystem::resize_file(OnlyFile(), 0);
  EXPECT_FALSE(Open("rules").Read());
}

TEST_F(FilterCacheTest, WhatOthersCanWriteIsNotTaken) {
  Open("rules").Write(kProgram);
  ASSERT_EQ(::chmod(OnlyFile().c_str(), 0666), 0);
  EXPECT_FALSE(Open("rules").Read());
  ASSERT_EQ(::chmod(OnlyFile().c_str(), 0600), 0);
  ASSERT_EQ(::chmod(folder_.c_str(), 0777), 0);
  EXPECT_FALSE(Open("rules").Read());
  ASSERT_EQ(::chmod(folder_.c_str(), 0700), 0);
  EXPECT_TRUE(Open("rules").Read());
  const auto file = OnlyFile();
  std::filesystem::rename(file, parent_.Path() / "elsewhere");
  std::filesystem::create_symlink(parent_.Path() / "elsewhere", file);
  EXPECT_FALSE(Open("rules").Read());
}

TEST_F(FilterCacheTest, WithoutADirectoryNothingIsKept) {
  const auto entry = FilterCacheEntry::Open("", "rules");
  entry.Write(kProgram);
  EXPECT_FALSE(entry.Read());
}

TEST_F(FilterCacheTest, TheFilterIsTheSameFromTheCache) {
  for (const FilterStage stage : {FilterStage::kStart, FilterStage::kServing}) {
    const auto compiled = CompileWorkerFilter(stage, "");
    const auto written = CompileWorkerFilter(stage, folder_);
    const auto read = CompileWorkerFilter(stage, folder_);
    ASSERT_TRUE(compiled && written && read);
    const auto bytes = [](const FilterProgram& program) {
      return std::string(reinterpret_cast<const char*>(program.instructions.data()),
                         program.instructions.size() * sizeof(sock_filter));
    };
    EXPECT_EQ(bytes(*compiled), bytes(*written));
    EXPECT_EQ(bytes(*compiled), bytes(*read));
  }
}

}  // namespace
}  // namespace cwasi::sandbox
