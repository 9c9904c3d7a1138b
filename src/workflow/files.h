// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The files that a workflow names: modules, and inputs with their globs expanded. Nothing is read
// yet.
//
// Thread: any, if no other changes the locale meanwhile (glob(3)).

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "workflow/mistakes.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

struct InputFile {
  std::string name;  // The file's, without folder and last extension. Any bytes but '/' and NUL.
  std::filesystem::path path;
};

struct Files {
  std::filesystem::path folder;                // Of the workflow file; what paths are relative to,
  std::filesystem::path output_folder;         // but those of outputs, which are to this.
  std::vector<std::filesystem::path> modules;  // One for each function.
  std::vector<std::vector<InputFile>> inputs;  // For each input; sorted by path for a glob.
};

// Mistakes: a file that is missing, not a regular file or not readable; a glob that nothing
// matches; more than kMaxItems.
Files FindFiles(const Workflow& workflow, const std::filesystem::path& folder, Mistakes& mistakes);

}  // namespace cwasi::workflow
