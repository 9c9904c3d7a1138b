// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the names in a workflow mean: fills in the places of functions, inputs and steps that are
// named, and finds what cannot be.

#pragma once

#include "workflow/mistakes.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

// Mistakes: names that name nothing, an input and a step of one name, a source needed twice,
// for_each that is not a list or not among the needs, steps in a circle, patterns of outputs that
// do not fit their value. Empty names are passed over: they were mistakes before.
void ResolveReferences(Workflow& workflow, Mistakes& mistakes);

}  // namespace cwasi::workflow
