// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/shape.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "workflow/plan.h"

namespace cwasi::workflow {
namespace {

bool IsStep(const Need& need) {
  return need.source.kind == Source::Kind::kStep;
}

// Kahn's algorithm; of the steps that could come next the one that became free first.
std::vector<std::size_t> Order(const Workflow& workflow) {
  std::vector<std::size_t> waiting(workflow.steps.size(), 0);
  std::vector<std::vector<std::size_t>> takers(workflow.steps.size());
  std::vector<std::size_t> order;
  order.reserve(workflow.steps.size());
  for (std::size_t s = 0; s < workflow.steps.size(); ++s) {
    for (const Need& need : workflow.steps[s].needs) {
      if (!IsStep(need)) continue;
      ++waiting[s];
      takers[need.source.index].push_back(s);
    }
    if (waiting[s] == 0) order.push_back(s);
  }
  for (std::size_t done = 0; done < order.size(); ++done) {
    for (const std::size_t taker : takers[order[done]]) {
      if (--waiting[taker] == 0) order.push_back(taker);
    }
  }
  CHECK(order.size() == workflow.steps.size());  // ParseWorkflow refuses circles.
  return order;
}

}  // namespace

std::size_t Shape::Parts(const Step& step) const {
  std::size_t parts = 0;
  for (std::size_t i = 0; i < step.needs.size(); ++i) {
    parts += i == step.for_each ? 1 : Items(step.needs[i].source);
  }
  return parts;
}

Shape MeasureWorkflow(const Workflow& workflow, const Files& files, Mistakes& mistakes) {
  Shape shape;
  shape.order = Order(workflow);
  for (const auto& items : files.inputs) shape.input_items.push_back(items.size());
  shape.depth.resize(workflow.steps.size(), 1);
  shape.step_items.resize(workflow.steps.size(), 1);
  std::size_t tasks = 0;
  std::size_t parts = 0;
  for (const std::size_t s : shape.order) {
    const Step& step = workflow.steps[s];
    for (const Need& need : step.needs) {
      if (IsStep(need))
        shape.depth[s] = std::max(shape.depth[s], shape.depth[need.source.index] + 1);
    }
    if (step.for_each) shape.step_items[s] = shape.Items(step.needs[*step.for_each].source);
    const std::size_t call_parts = shape.Parts(step);
    if (call_parts > kMaxItems) {
      mistakes.Add(
          step.name.mark, "steps." + step.name.text + ".needs",
          "one call would get " + std::to_string(call_parts) + " parts; 65,536 is the most");
    }
    // No overflow: at most 10,000 steps of 65,536 items with 65,536 times 65,536 parts.
    tasks += shape.step_items[s];
    parts += shape.step_items[s] * call_parts;
  }
  if (tasks > kMaxTasks) {
    mistakes.Add({}, "steps", std::to_string(tasks) + " calls; 1,000,000 is the most");
  }
  if (parts > kMaxPlanParts) {
    mistakes.Add({}, "steps",
                 "calls with " + std::to_string(parts) + " parts in all; 4,194,304 is the most");
  }
  std::size_t writes = 0;
  for (const Output& output : workflow.outputs) writes += shape.Items(output.from.source);
  if (writes > kMaxTasks) {
    mistakes.Add({}, "outputs", std::to_string(writes) + " files; 1,000,000 is the most");
  }
  return shape;
}

}  // namespace cwasi::workflow
