// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/plan.h"

#include <algorithm>
#include <queue>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "workflow/output_paths.h"
#include "workflow/shape.h"

namespace cwasi::workflow {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;

std::uint32_t Index(std::size_t index) {
  CHECK(index < kNone);  // The bounds of MeasureWorkflow are far below.
  return static_cast<std::uint32_t>(index);
}

class Builder {
 public:
  Builder(const Workflow& workflow, const Files& files, const Shape& shape, Mistakes& mistakes)
      : workflow_(workflow), files_(files), shape_(shape), mistakes_(mistakes) {}

  Plan Build() {
    NumberValues();
    NameResults();
    for (std::size_t s = 0; s < workflow_.steps.size(); ++s) AddTasks(s);
    AddWrites();
    AddReads();
    return std::move(plan_);
  }

 private:
  // Input files first, then results: tasks and results have the same order.
  void NumberValues() {
    for (const auto& items : files_.inputs) {
      first_input_.push_back(plan_.values.size());
      for (const InputFile& item : items) plan_.values.push_back({.name = item.name});
    }
    for (const std::size_t items : shape_.step_items) {
      first_result_.push_back(plan_.values.size());
      plan_.values.resize(plan_.values.size() + items);
    }
  }

  void NameResults() {
    for (const std::size_t s : shape_.order) {
      const Step& step = workflow_.steps[s];
      for (std::size_t item = 0; item < shape_.step_items[s]; ++item) {
        plan_.values[first_result_[s] + item].name =
            step.for_each ? plan_.values[First(step.needs[*step.for_each].source) + item].name
                          : step.name.text;
      }
    }
  }

  [[nodiscard]] std::size_t First(const Source& source) const {
    return source.kind == Source::Kind::kInput ? first_input_[source.index]
                                               : first_result_[source.index];
  }

  void AddTasks(std::size_t s) {
    const Step& step = workflow_.steps[s];
    for (std::size_t item = 0; item < shape_.step_items[s]; ++item) {
      Task task{.step = Index(s),
                .item = Index(item),
                .result = Index(first_result_[s] + item),
                .parts = {}};
      task.parts.reserve(shape_.Parts(step));
      for (std::size_t n = 0; n < step.needs.size(); ++n) {
        const Source& source = step.needs[n].source;
        if (n == step.for_each) {
          AddPart(task, step.needs[n], item);
          continue;
        }
        for (std::size_t i = 0; i < shape_.Items(source); ++i) AddPart(task, step.needs[n], i);
      }
      plan_.tasks.push_back(std::move(task));
    }
  }

  void AddPart(Task& task, const Need& need, std::size_t item) {
    const std::size_t value = First(need.source) + item;
    task.parts.push_back({.value = Index(value), .stays = need.modes == Modes::kEmbedded});
    ++plan_.values[value].uses;
  }

  void AddWrites() {
    OutputPaths paths(workflow_, files_, mistakes_);
    for (std::size_t o = 0; o < workflow_.outputs.size(); ++o) {
      const Source& source = workflow_.outputs[o].from.source;
      const std::size_t count = shape_.Items(source);
      for (std::size_t item = 0; item < count; ++item) {
        Value& value = plan_.values[First(source) + item];
        ++value.uses;
        plan_.writes.push_back({.value = Index(First(source) + item),
                                .output = Index(o),
                                .path = paths.Add(o, value.name, item, count)});
      }
    }
    paths.CheckFolders();
  }

  void AddReads() {
    for (std::size_t i = 0; i < files_.inputs.size(); ++i) {
      for (std::size_t item = 0; item < files_.inputs[i].size(); ++item) {
        const std::size_t value = first_input_[i] + item;
        if (plan_.values[value].uses == 0) continue;
        plan_.reads.push_back({.value = Index(value),
                               .input = static_cast<std::uint32_t>(i),
                               .path = files_.inputs[i][item].path});
      }
    }
  }

  const Workflow& workflow_;
  const Files& files_;
  const Shape& shape_;
  Mistakes& mistakes_;
  Plan plan_;
  std::vector<std::size_t> first_input_;   // Id of the first value of each input
  std::vector<std::size_t> first_result_;  // and step.
};

// Goes through the run as it will be, one action after the other.
class Scheduler {
 public:
  Scheduler(const Shape& shape, Plan& plan) : shape_(shape), plan_(plan) {
    const std::size_t values = plan_.values.size();
    left_.reserve(values);
    for (const Value& value : plan_.values) left_.push_back(value.uses);
    read_of_.resize(values, kNone);
    writes_of_.resize(values);
    takers_.resize(values);
    for (std::uint32_t i = 0; i < plan_.reads.size(); ++i) read_of_[plan_.reads[i].value] = i;
    for (std::uint32_t i = 0; i < plan_.writes.size(); ++i) {
      writes_of_[plan_.writes[i].value].push_back(i);
    }
  }

  void Run() {
    std::vector<bool> is_result(plan_.values.size(), false);
    for (const Task& task : plan_.tasks) is_result[task.result] = true;
    waiting_.resize(plan_.tasks.size(), 0);
    for (std::uint32_t t = 0; t < plan_.tasks.size(); ++t) {
      for (const Use& part : plan_.tasks[t].parts) {
        // A file can be read at any time: nobody waits for it.
        if (!is_result[part.value]) continue;
        ++waiting_[t];
        takers_[part.value].push_back(t);
      }
      if (waiting_[t] == 0) AddReady(t);
    }
    while (!ready_.empty()) {
      const std::uint32_t task = std::get<3>(ready_.top());
      ready_.pop();
      Call(task);
    }
    // Inputs that only go to outputs.
    for (std::uint32_t i = 0; i < plan_.reads.size(); ++i) Read(plan_.reads[i].value);
  }

 private:
  // Deepest first; of these the first item, so that a file that several steps take is soon done
  // with; of these the first step.
  using Rank = std::tuple<std::size_t, std::int64_t, std::int64_t, std::uint32_t>;

  void AddReady(std::uint32_t index) {
    const Task& task = plan_.tasks[index];
    ready_.emplace(shape_.depth[task.step], -static_cast<std::int64_t>(task.item),
                   -static_cast<std::int64_t>(task.step), index);
  }

  void Act(Action::Kind kind, std::uint32_t index) {
    plan_.actions.push_back({.kind = kind, .index = index});
  }

  // Unless it was read before.
  void Read(ValueId value) {
    const std::uint32_t read = std::exchange(read_of_[value], kNone);
    if (read == kNone) return;
    Act(Action::Kind::kRead, read);
    Made(value);
  }

  // A new value: written where it goes, and gone if that was all.
  void Made(ValueId value) {
    plan_.peak_values = std::max(plan_.peak_values, ++live_);
    for (const std::uint32_t write : writes_of_[value]) {
      Act(Action::Kind::kWrite, write);
      --left_[value];
    }
    if (left_[value] > 0) return;
    Act(Action::Kind::kDrop, value);
    --live_;
  }

  void Call(std::uint32_t index) {
    Task& task = plan_.tasks[index];
    for (const Use& part : task.parts) Read(part.value);
    std::size_t moved = 0;
    for (Use& part : task.parts) {
      part.pass = --left_[part.value] == 0 ? ipc::Pass::kMove : ipc::Pass::kCopy;
      if (part.pass == ipc::Pass::kMove) ++moved;
    }
    plan_.moved_parts += moved;
    plan_.copied_parts += task.parts.size() - moved;
    Act(Action::Kind::kCall, index);
    Made(task.result);
    live_ -= moved;
    for (const std::uint32_t taker : takers_[task.result]) {
      if (--waiting_[taker] == 0) AddReady(taker);
    }
  }

  const Shape& shape_;
  Plan& plan_;
  std::vector<std::uint32_t> left_;     // Uses to come, by value.
  std::vector<std::uint32_t> read_of_;  // By value: the read still to do, or kNone.
  std::vector<std::vector<std::uint32_t>> writes_of_;
  std::vector<std::vector<std::uint32_t>> takers_;  // Tasks that wait for a result.
  std::vector<std::uint32_t> waiting_;              // By task: results it waits for.
  std::priority_queue<Rank> ready_;
  std::size_t live_ = 0;
};

}  // namespace

Plan BuildPlan(const Workflow& workflow, const Files& files, Mistakes& mistakes) {
  const Shape shape = MeasureWorkflow(workflow, files, mistakes);
  if (!mistakes.IsEmpty()) return {};
  Plan plan = Builder(workflow, files, shape, mistakes).Build();
  Scheduler(shape, plan).Run();
  return plan;
}

}  // namespace cwasi::workflow
