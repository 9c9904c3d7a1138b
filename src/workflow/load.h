// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// From the path of a workflow file to what a run needs, or to everything that is wrong with it.

#pragma once

#include <filesystem>
#include <vector>

#include <tl/expected.hpp>

#include "workflow/files.h"
#include "workflow/mistakes.h"
#include "workflow/plan.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

struct Loaded {
  Workflow workflow;
  Files files;
  Plan plan;
};

// Mistakes in the order of the file; Format(path, mistake) is what the user reads. A mistake that
// only shows in the whole plan is looked for when there is no other.
// Relative paths of outputs begin at `output_folder`, or at the file's own folder if it is empty.
tl::expected<Loaded, std::vector<Mistake>> LoadWorkflow(
    const std::filesystem::path& file, const std::filesystem::path& output_folder = {});

}  // namespace cwasi::workflow
