// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How large a workflow becomes with the files it has: how many items each source, in which order
// steps can come. What BuildPlan checks before it allocates anything per call.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "workflow/files.h"
#include "workflow/mistakes.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

struct Shape {
  std::vector<std::size_t> order;        // Steps, each after all that it needs.
  std::vector<std::size_t> depth;        // Of each step: 1 for one that needs inputs only.
  std::vector<std::size_t> input_items;  // 1 for what is not a list.
  std::vector<std::size_t> step_items;

  [[nodiscard]] std::size_t Items(const Source& source) const {
    return source.kind == Source::Kind::kInput ? input_items[source.index]
                                               : step_items[source.index];
  }
  // Parts of one call of the step.
  [[nodiscard]] std::size_t Parts(const Step& step) const;
};

// Mistakes: more calls, parts or outputs than the bounds in workflow/plan.h and kMaxItems.
Shape MeasureWorkflow(const Workflow& workflow, const Files& files, Mistakes& mistakes);

}  // namespace cwasi::workflow
