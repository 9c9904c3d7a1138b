// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Which of the functions that may be embedded share workers, so that what the file says of single
// edges holds: of a function's calls (CallRule) and of values from step to step (Need::modes). Two
// functions of an edge that is only local do not share; two of one that is only embedded do. All
// others share as far as that goes.

#pragma once

#include "workflow/mistakes.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

// Sets Function::share. Mistakes: an edge whose modes the functions at its ends do not have, and
// edges that contradict each other. Names that ResolveReferences has not found are left out.
void ShareWorkers(Workflow& workflow, Mistakes& mistakes);

}  // namespace cwasi::workflow
