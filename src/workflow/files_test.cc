// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/temp_dir.h"
#include "test/support/workflow_text.h"
#include "workflow/file.h"

namespace cwasi::workflow {
namespace {

using test::Formatted;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class FilesTest : public ::testing::Test {
 protected:
  [[nodiscard]] const std::filesystem::path& Folder() const { return dir_.Path(); }
  void Touch(const std::string& name, std::string_view text = "x") const {
    test::Touch(Folder() / name, text);
  }

  // FindFiles on a workflow of these inputs; mistakes go to `mistakes_`.
  Files Find(std::string_view inputs) {
    Touch("f.wasm");
    return FindIn("functions: {f: {path: f.wasm}}\nsteps: {s: {call: f}}\n" + std::string(inputs));
  }
  Files FindIn(std::string_view text) {
    Mistakes mistakes;
    const Workflow workflow = ParseWorkflow(text, mistakes);
    Files files = FindFiles(workflow, Folder(), mistakes);
    mistakes_ = Formatted(mistakes.Sorted());
    return files;
  }
  std::vector<std::string> Names(const Files& files) {
    std::vector<std::string> names;
    for (const InputFile& file : files.inputs.at(0)) names.push_back(file.name);
    return names;
  }

  test::TempDir dir_;
  std::vector<std::string> mistakes_;
};

TEST_F(FilesTest, SortsTheMatchesOfAGlobByTheirBytes) {
  for (const char* name : {"b.jpg", "a.jpg", "Z.jpg", "a10.jpg", "a9.jpg", "no.png"}) Touch(name);
  const Files files = Find("inputs: {p: {glob: \"*.jpg\"}}\n");
  EXPECT_THAT(mistakes_, IsEmpty());
  EXPECT_THAT(Names(files), ElementsAre("Z", "a", "a10", "a9", "b"));
  EXPECT_EQ(files.inputs[0][0].path, Folder() / "Z.jpg");
}

TEST_F(FilesTest, AGlobMatchesFilesNotFolders) {
  std::filesystem::create_directories(Folder() / "x.jpg");
  Touch("sub/y.jpg");
  std::filesystem::create_symlink("gone", Folder() / "broken.jpg");
  std::filesystem::create_symlink("sub/y.jpg", Folder() / "link.jpg");
  EXPECT_THAT(Names(Find("inputs: {p: {glob: \"*.jpg\"}}\n")), ElementsAre("link"));
  EXPECT_THAT(Names(Find("inputs: {p: {glob: \"*/[xyz].jpg\"}}\n")), ElementsAre("y"));
}

TEST_F(FilesTest, TakesAnAbsoluteGlob) {
  Touch("a.jpg");
  EXPECT_THAT(Names(Find("inputs: {p: {glob: \"" + Folder().native() + "/*.jpg\"}}\n")),
              ElementsAre("a"));
}

TEST_F(FilesTest, TheFoldersOwnNameIsNotAPattern) {
  Touch("[ab]*?/w.jpg");
  Touch("axx/other.jpg");
  Touch("f.wasm");
  Mistakes mistakes;
  const Workflow workflow = ParseWorkflow(
      "functions: {f: {path: ../f.wasm}}\nsteps: {s: {call: f}}\ninputs: {p: {glob: \"*.jpg\"}}\n",
      mistakes);
  const Files files = FindFiles(workflow, Folder() / "[ab]*?", mistakes);
  EXPECT_TRUE(mistakes.IsEmpty());
  EXPECT_THAT(Names(files), ElementsAre("w"));
}

TEST_F(FilesTest, NamesAnItemByItsFileWithoutTheLastExtension) {
  for (const char* name : {"a.tar.gz", ".hidden", "plain"}) Touch(name);
  EXPECT_THAT(Names(Find("inputs: {p: {files: [a.tar.gz, .hidden, plain]}}\n")),
              ElementsAre("a.tar", ".hidden", "plain"));
}

TEST_F(FilesTest, NamesEachFileThatIsMissing) {
  Find("inputs:\n  a: {file: gone.png}\n  b: {files: [f.wasm, none]}\n  c: {glob: \"*.gif\"}\n");
  const std::string at = Folder().native();
  EXPECT_THAT(mistakes_,
              ElementsAre("w.yaml:4:13: inputs.a.file: there is no file " + at + "/gone.png",
                          "w.yaml:5:23: inputs.b.files[1]: there is no file " + at + "/none",
                          "w.yaml:6:13: inputs.c.glob: no file matches " + at + "/*.gif"));
}

TEST_F(FilesTest, NamesAModuleThatIsMissingEvenIfNobodyCallsIt) {
  Touch("g.wasm");
  FindIn("functions:\n  f: {path: f.wasm}\n  g: {path: g.wasm}\nsteps: {s: {call: g}}\n");
  EXPECT_THAT(mistakes_, ElementsAre("w.yaml:2:13: functions.f.path: there is no file " +
                                     Folder().native() + "/f.wasm"));
}

TEST_F(FilesTest, RefusesWhatIsNotARegularFile) {
  ASSERT_EQ(::mkfifo((Folder() / "fifo").c_str(), 0600), 0);
  std::filesystem::create_directories(Folder() / "folder");
  Find("inputs: {a: {file: fifo}, b: {file: folder}}\n");
  EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("inputs.a.file: "), HasSubstr("inputs.b.file: ")));
  EXPECT_THAT(mistakes_, ::testing::Each(HasSubstr("is not a regular file")));
}

TEST_F(FilesTest, RefusesAFileThatMayNotBeRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  Touch("secret");
  ASSERT_EQ(::chmod((Folder() / "secret").c_str(), 0), 0);
  Find("inputs: {a: {file: secret}}\n");
  EXPECT_THAT(mistakes_, ElementsAre(HasSubstr("may not be read")));
}

}  // namespace
}  // namespace cwasi::workflow
