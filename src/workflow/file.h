// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The workflow file: from text to a Workflow. It opens nothing but what it is given; whether the
// files and modules named exist is for workflow/files.h.

#pragma once

#include <string_view>

#include "workflow/mistakes.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

// With any mistake the result is incomplete: good for finding further mistakes, nothing else.
// Without one every reference is resolved, no step needs itself in the end, and the bounds of
// workflow/workflow.h hold. Safe for any bytes.
Workflow ParseWorkflow(std::string_view text, Mistakes& mistakes);

}  // namespace cwasi::workflow
