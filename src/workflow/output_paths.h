// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Where the outputs of a workflow go, and whether they would overwrite one another or what the
// workflow reads. Paths are compared as text after `.` and `..` are resolved; links are not
// followed.

#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "workflow/files.h"
#include "workflow/mistakes.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

class OutputPaths {
 public:
  // `workflow`, `files` and `mistakes` outlive this.
  OutputPaths(const Workflow& workflow, const Files& files, Mistakes& mistakes);

  // The path of item `index` of `count` of an output, with a mistake if it is taken. One mistake is
  // enough for an output.
  std::filesystem::path Add(std::size_t output, std::string_view name, std::size_t index,
                            std::size_t count);
  // After the last Add: a file that others need as a folder.
  void CheckFolders();

 private:
  struct Owner {
    std::size_t output = 0;
    std::string item;
  };
  void Refuse(std::size_t output, const std::string& what);

  const Workflow& workflow_;
  const Files& files_;
  Mistakes& mistakes_;
  std::unordered_set<std::string> read_;
  std::unordered_map<std::string, Owner> written_;
  std::unordered_set<std::size_t> refused_;
};

}  // namespace cwasi::workflow
