// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/load.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/temp_dir.h"
#include "test/support/workflow_text.h"
#include "workflow/yaml.h"

namespace cwasi::workflow {
namespace {

using test::Formatted;
using test::kFullExample;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class LoadTest : public ::testing::Test {
 protected:
  [[nodiscard]] const std::filesystem::path& Folder() const { return dir_.Path(); }
  void Touch(const std::string& name, std::string_view text = "x") const {
    test::Touch(Folder() / name, text);
  }

  std::vector<std::string> MistakesOf(const std::string& name) {
    const auto loaded = LoadWorkflow(Folder() / name);
    EXPECT_FALSE(loaded);
    return loaded ? std::vector<std::string>{} : Formatted(loaded.error());
  }

  test::TempDir dir_;
};

TEST_F(LoadTest, PlansTheExampleFromItsFiles) {
  for (const char* name : {"decode.wasm", "sheet.wasm", "photos/b.jpg", "photos/a.jpg", "logo.png",
                           "a.png", "b.png"}) {
    Touch(name);
  }
  Touch("w.yaml", kFullExample);
  const auto loaded = LoadWorkflow(Folder() / "w.yaml");
  ASSERT_TRUE(loaded) << Format("w.yaml", loaded.error().front());
  EXPECT_THAT(loaded->plan.tasks, SizeIs(3));
  EXPECT_THAT(loaded->plan.reads, SizeIs(5));
  EXPECT_THAT(loaded->plan.writes, SizeIs(3));
  EXPECT_EQ(loaded->plan.writes[0].path, Folder() / "out/page.png");
  EXPECT_EQ(loaded->files.modules.at(0), Folder() / "decode.wasm");
}

TEST_F(LoadTest, PutsOutputsInTheFolderItIsGiven) {
  Touch("f.wasm");
  Touch("w.yaml",
        "functions: {f: {path: f.wasm}}\nsteps: {s: {call: f}}\n"
        "outputs: {o: {from: s, file: f.wasm}, p: {from: s, file: /elsewhere/p}}\n");
  const auto loaded = LoadWorkflow(Folder() / "w.yaml", Folder() / "out");
  ASSERT_TRUE(loaded) << Format("w.yaml", loaded.error().front());
  EXPECT_EQ(loaded->plan.writes.at(0).path, Folder() / "out/f.wasm");
  EXPECT_EQ(loaded->plan.writes.at(1).path, "/elsewhere/p");
}

TEST_F(LoadTest, TellsMistakesOfTheFileAndMissingFilesTogether) {
  Touch("w.yaml",
        "functions: {f: {path: f.wasm, embedd: allow}}\nsteps: {s: {call: f, needs: g}}\n");
  EXPECT_THAT(MistakesOf("w.yaml"),
              ElementsAre("w.yaml:1:23: functions.f.path: there is no file " + Folder().native() +
                              "/f.wasm",
                          "w.yaml:1:31: functions.f.embedd: unknown key (did you mean embed?)",
                          "w.yaml:2:29: steps.s.needs: there is no input or step \"g\""));
}

TEST_F(LoadTest, SaysWhyAFileCannotBeRead) {
  EXPECT_THAT(MistakesOf("gone.yaml"),
              ElementsAre("w.yaml: cannot be opened: No such file or directory"));
  ASSERT_EQ(::mkfifo((Folder() / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(MistakesOf("fifo"), ElementsAre("w.yaml: is not a regular file"));
  EXPECT_THAT(MistakesOf(""), ElementsAre("w.yaml: is not a regular file"));
  Touch("large", std::string(kMaxFileBytes + 1, '#'));
  EXPECT_THAT(MistakesOf("large"), ElementsAre("w.yaml: longer than 1 MiB"));
}

TEST_F(LoadTest, TellsWhatOnlyThePlanShows) {
  Touch("f.wasm");
  Touch("w.yaml",
        "functions: {f: {path: f.wasm}}\nsteps: {s: {call: f}}\n"
        "outputs: {o: {from: s, file: f.wasm}}\n");
  EXPECT_THAT(MistakesOf("w.yaml"), ElementsAre(HasSubstr("w.yaml:3:30: outputs.o.file: would "
                                                          "overwrite")));
}

}  // namespace
}  // namespace cwasi::workflow
