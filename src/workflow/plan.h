// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The calls of a workflow one by one: which values go in, which comes out, in which order, and when
// a value is needed for the last time. Pure: no file is touched.
//
// The order is depth-first: of the calls that could be made, the one furthest from the inputs comes
// next, so that a chain of for_each finishes one item before it begins the next and few values live
// at once. Files are read right before their first use and outputs written as soon as they are
// there. The same workflow and files give the same plan.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ipc/control.h"
#include "workflow/files.h"
#include "workflow/mistakes.h"
#include "workflow/workflow.h"

namespace cwasi::workflow {

inline constexpr std::size_t kMaxTasks = 1'000'000;  // Also of files written.
inline constexpr std::size_t kMaxPlanParts = 4'194'304;

// A value's id is its place in Plan::values.
using ValueId = std::uint32_t;

struct Value {
  // An input file's name, for results of for_each the name of the item, else the step's.
  std::string name;
  std::uint32_t uses = 0;  // Parts of calls and files written, over the whole run.
};

struct Use {
  ValueId value = 0;
  // kMove: in the order of the plan nobody uses the value after this. kCopy: somebody does, so the
  // payload is copied.
  ipc::Pass pass = ipc::Pass::kCopy;
  // It must not go to another worker than the one that made it.
  bool stays = false;
};

// One call.
struct Task {
  std::uint32_t step = 0;  // In Workflow::steps.
  std::uint32_t item = 0;  // Of the step's result; 0 without for_each.
  ValueId result = 0;
  std::vector<Use> parts;
};

struct FileRead {
  ValueId value = 0;
  std::uint32_t input = 0;  // In Workflow::inputs.
  std::filesystem::path path;
};

struct FileWrite {
  ValueId value = 0;
  std::uint32_t output = 0;  // In Workflow::outputs.
  std::filesystem::path path;
};

struct Action {
  enum class Kind : std::uint8_t { kRead, kCall, kWrite, kDrop };
  Kind kind = Kind::kCall;
  std::uint32_t index = 0;  // In reads, tasks, writes or values.
  bool operator==(const Action&) const = default;
};

struct Plan {
  std::vector<Value> values;
  std::vector<FileRead> reads;  // Of inputs that are used.
  std::vector<Task> tasks;      // By step, then by item.
  std::vector<FileWrite> writes;
  std::vector<Action> actions;  // In order. Each value that is made is moved or dropped once.
  std::size_t moved_parts = 0;
  std::size_t copied_parts = 0;
  std::size_t peak_values = 0;  // Alive at once, at most; a call's parts and result together.
};

// `workflow` and `files` are without mistakes. Mistakes: bounds that only show with the numbers of
// files, and outputs whose paths collide with one another, an input or a module.
Plan BuildPlan(const Workflow& workflow, const Files& files, Mistakes& mistakes);

}  // namespace cwasi::workflow
