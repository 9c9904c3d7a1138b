// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Any bytes are refused with a mistake, or are a workflow that a plan can be made of, in which each
// value that is made ends once.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "workflow/file.h"
#include "workflow/plan.h"

namespace {

using namespace cwasi::workflow;  // NOLINT(google-build-using-namespace): the layer under test.

void Require(bool holds) {
  if (!holds) std::abort();
}

// Two made-up files for each list.
Files Found(const Workflow& workflow) {
  Files files{.folder = "w", .output_folder = "w", .modules = {}, .inputs = {}};
  for (std::size_t i = 0; i < workflow.inputs.size(); ++i) {
    auto& items = files.inputs.emplace_back();
    const std::string at = "in" + std::to_string(i);
    items.push_back({.name = "a", .path = at + "/a.x"});
    if (workflow.inputs[i].IsList()) items.push_back({.name = "b", .path = at + "/b.x"});
  }
  return files;
}

void CheckPlan(const Plan& plan) {
  enum class State : std::uint8_t { kNone, kAlive, kGone };
  std::vector<State> values(plan.values.size(), State::kNone);
  const auto make = [&values](ValueId value) {
    Require(values.at(value) == State::kNone);
    values[value] = State::kAlive;
  };
  const auto end = [&values](ValueId value) {
    Require(values.at(value) == State::kAlive);
    values[value] = State::kGone;
  };
  for (const Action& action : plan.actions) {
    switch (action.kind) {
      case Action::Kind::kRead:
        make(plan.reads.at(action.index).value);
        break;
      case Action::Kind::kDrop:
        end(action.index);
        break;
      case Action::Kind::kWrite:
        Require(values.at(plan.writes.at(action.index).value) == State::kAlive);
        break;
      case Action::Kind::kCall:
        for (const Use& part : plan.tasks.at(action.index).parts) {
          Require(values.at(part.value) == State::kAlive);
          if (part.pass == cwasi::ipc::Pass::kMove) end(part.value);
        }
        make(plan.tasks.at(action.index).result);
        break;
    }
  }
  for (const State state : values) Require(state != State::kAlive);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Mistakes mistakes;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Workflow workflow = ParseWorkflow(text, mistakes);
  for (const Mistake& mistake : mistakes.Sorted()) {
    // A mistake is one line, whatever the file held.
    const std::string line = Format("w.yaml", mistake);
    Require(!mistake.what.empty() && line.find('\n') == std::string::npos);
  }
  if (!mistakes.IsEmpty()) return 0;
  const Plan plan = BuildPlan(workflow, Found(workflow), mistakes);
  if (mistakes.IsEmpty()) CheckPlan(plan);
  return 0;
}
