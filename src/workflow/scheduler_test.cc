// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Against workers that do what they are told in an order of their own, and hold the scheduler to
// the control protocol: a value is where a command says, and nowhere twice.

#include "workflow/scheduler.h"

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cwasi::workflow {
namespace {

using Kind = Command::Kind;
using testing::ElementsAre;

// A plan made by hand, in the order of its calls.
struct Flow {
  Plan plan;
  Placement placement;
  std::vector<std::uint32_t> function_of_step;

  std::uint32_t AddGroup(std::uint32_t workers) {
    const auto group = static_cast<std::uint32_t>(placement.groups.size());
    placement.groups.push_back({.functions = {group}, .workers = workers});
    placement.group_of.push_back(group);
    function_of_step.push_back(group);
    return group;
  }
  ValueId AddValue() {
    plan.values.push_back({.name = std::to_string(plan.values.size())});
    return static_cast<ValueId>(plan.values.size() - 1);
  }
  ValueId AddFile() {
    const ValueId value = AddValue();
    plan.reads.push_back({.value = value, .input = 0, .path = {}});
    return value;
  }
  ValueId AddCall(std::uint32_t group, const std::vector<ValueId>& parts,
                  const std::set<ValueId>& staying = {}) {
    const ValueId result = AddValue();
    Task task{.step = group, .result = result, .parts = {}};
    for (const ValueId part : parts) {
      task.parts.push_back({.value = part, .stays = staying.contains(part)});
      ++plan.values[part].uses;
    }
    plan.actions.push_back(
        {.kind = Action::Kind::kCall, .index = static_cast<std::uint32_t>(plan.tasks.size())});
    plan.tasks.push_back(std::move(task));
    return result;
  }
  void AddWrite(ValueId value) {
    ++plan.values[value].uses;
    plan.writes.push_back({.value = value, .output = 0, .path = {}});
  }
};

class Simulation {
 public:
  Simulation(const Flow& flow, unsigned seed)
      : flow_(flow),
        scheduler_(flow.plan, flow.placement, flow.function_of_step),
        random_(seed),
        calls_(flow.plan.tasks.size()),
        writes_(flow.plan.writes.size()) {}

  void Run() {
    for (std::size_t round = 0; !scheduler_.Finished(); ++round) {
      ASSERT_LT(round, 200'000U) << "it does not end";
      for (Command& command : scheduler_.Next()) Take(std::move(command));
      if (scheduler_.Finished()) break;
      ASSERT_TRUE(Step()) << "nothing is to be done, and it is not finished";
    }
    for (Command& command : scheduler_.Next()) Take(std::move(command));
    while (Step()) {
    }
    for (const auto& [id, worker] : workers_)
      EXPECT_TRUE(worker.values.empty()) << "worker " << id << " still has a value";
    for (const int calls : calls_) EXPECT_EQ(calls, 1);
    for (const int writes : writes_) EXPECT_EQ(writes, 1);
  }
  [[nodiscard]] int Gifts() const { return gifts_; }
  [[nodiscard]] int Reads() const { return reads_; }
  [[nodiscard]] std::size_t PeakValues() const { return scheduler_.PeakValues(); }
  [[nodiscard]] std::size_t MostBusy() const { return most_busy_; }
  [[nodiscard]] std::size_t WorkerCount() const { return workers_.size(); }

 private:
  struct Worker {
    std::uint32_t group = 0;
    std::deque<Command> queue;
    std::set<ValueId> values;
  };

  void Take(Command command) {
    if (command.kind == Kind::kStartWorker) {
      starting_.push_back(command.index);
    } else {
      workers_.at(command.worker).queue.push_back(std::move(command));
      std::size_t busy = 0;
      for (const auto& [id, worker] : workers_)
        busy += std::ranges::any_of(worker.queue,
                                    [](const Command& c) { return c.kind == Kind::kInvoke; })
                    ? 1U
                    : 0U;
      most_busy_ = std::max(most_busy_, busy);
    }
  }
  // Somebody does the next thing. False: there is nothing to do.
  bool Step() {
    std::vector<ipc::WorkerId> ready;
    for (const auto& [id, worker] : workers_)
      if (!worker.queue.empty()) ready.push_back(id);
    const std::size_t choices = ready.size() + starting_.size();
    if (choices == 0) return false;
    const std::size_t choice = random_() % choices;
    if (choice >= ready.size()) {
      const std::uint32_t group = starting_[choice - ready.size()];
      starting_.erase(starting_.begin() + static_cast<std::ptrdiff_t>(choice - ready.size()));
      const ipc::WorkerId id = ++last_id_;
      workers_[id].group = group;
      EXPECT_LE(
          std::ranges::count_if(workers_, [&](const auto& w) { return w.second.group == group; }),
          flow_.placement.groups[group].workers);
      scheduler_.Up(id, group);
      return true;
    }
    Worker& worker = workers_.at(ready[choice]);
    const Command command = std::move(worker.queue.front());
    worker.queue.pop_front();
    Do(worker, command);
    return true;
  }
  void Do(Worker& worker, const Command& command) {
    const Plan& plan = flow_.plan;
    switch (command.kind) {
      case Kind::kRead:
        ++reads_;
        EXPECT_TRUE(worker.values.insert(plan.reads[command.index].value).second);
        return scheduler_.Done(command, 100);
      case Kind::kGive:
        ++gifts_;
        EXPECT_TRUE(worker.values.contains(command.index));
        EXPECT_TRUE(workers_.at(command.peer).values.insert(command.index).second);
        if (command.pass == ipc::Pass::kMove) worker.values.erase(command.index);
        return scheduler_.Done(command, 0);
      case Kind::kInvoke: {
        const Task& task = plan.tasks[command.index];
        ++calls_[command.index];
        EXPECT_EQ(worker.group, flow_.placement.group_of[flow_.function_of_step[task.step]]);
        for (std::size_t i = 0; i < task.parts.size(); ++i) {
          EXPECT_TRUE(worker.values.contains(task.parts[i].value));
          EXPECT_TRUE(!task.parts[i].stays || made_at_.at(task.parts[i].value) == command.worker);
          if (command.passes[i] == ipc::Pass::kMove) worker.values.erase(task.parts[i].value);
        }
        EXPECT_TRUE(worker.values.insert(task.result).second);
        made_at_[task.result] = command.worker;
        return scheduler_.Done(command, 100);
      }
      case Kind::kWrite:
        ++writes_[command.index];
        EXPECT_TRUE(worker.values.contains(plan.writes[command.index].value));
        return scheduler_.Done(command, 100);
      case Kind::kDrop:
        EXPECT_EQ(worker.values.erase(command.index), 1U);
        return;
      case Kind::kStartWorker:
        break;
    }
    FAIL() << "no command for a worker";
  }

  const Flow& flow_;
  Scheduler scheduler_;
  std::minstd_rand random_;
  std::map<ipc::WorkerId, Worker> workers_;
  std::map<ValueId, ipc::WorkerId> made_at_;
  std::vector<std::uint32_t> starting_;
  ipc::WorkerId last_id_ = 0;
  std::vector<int> calls_;
  std::vector<int> writes_;
  int gifts_ = 0;
  int reads_ = 0;
  std::size_t most_busy_ = 0;
};

// `items` chains of two steps, each from a file to a file.
Flow Chains(std::uint32_t workers, int items, bool one_group) {
  Flow flow;
  const auto first = flow.AddGroup(workers);
  const auto second = one_group ? first : flow.AddGroup(workers);
  for (int i = 0; i < items; ++i) {
    const ValueId file = flow.AddFile();
    flow.AddWrite(flow.AddCall(second, {flow.AddCall(first, {file})}));
  }
  flow.plan.peak_values = 2;
  return flow;
}

TEST(SchedulerTest, ChainsOfOneGroupStayInTheirWorkers) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    const Flow flow = Chains(3, 20, true);
    Simulation simulation(flow, seed);
    simulation.Run();
    EXPECT_EQ(simulation.Gifts(), 0);
    EXPECT_EQ(simulation.Reads(), 20);
  }
}

TEST(SchedulerTest, CallsOfOneGroupAreUnderWayAtOnce) {
  const Flow flow = Chains(4, 40, true);
  Simulation simulation(flow, 1);
  simulation.Run();
  EXPECT_EQ(simulation.WorkerCount(), 4U);
  EXPECT_EQ(simulation.MostBusy(), 4U);
}

TEST(SchedulerTest, ValuesGoFromGroupToGroupOnce) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    const Flow flow = Chains(2, 20, false);
    Simulation simulation(flow, seed);
    simulation.Run();
    EXPECT_EQ(simulation.Gifts(), 20);
  }
}

TEST(SchedulerTest, FilesAreNotReadAheadOfWhoTakesTheResults) {
  // The second group is one slow worker: what the first makes must not pile up.
  Flow flow;
  const auto first = flow.AddGroup(4);
  const auto second = flow.AddGroup(1);
  for (int i = 0; i < 300; ++i) flow.AddCall(second, {flow.AddCall(first, {flow.AddFile()})});
  flow.plan.peak_values = 2;
  for (unsigned seed = 0; seed < 20; ++seed) {
    Simulation simulation(flow, seed);
    simulation.Run();
    // In sequence 2, two for each of five workers, and what was begun below that.
    EXPECT_LE(simulation.PeakValues(), 2U + 2 * 5 + 2 * 5);
  }
}

TEST(SchedulerTest, MoreWorkersThanCallsAreNotStarted) {
  const Flow flow = Chains(100, 3, true);
  Simulation simulation(flow, 7);
  simulation.Run();
  EXPECT_LE(simulation.WorkerCount(), 3U);
}

TEST(SchedulerTest, AFanInBringsEveryPartToOneWorker) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    Flow flow;
    const auto group = flow.AddGroup(3);
    std::vector<ValueId> parts;
    for (int i = 0; i < 50; ++i) parts.push_back(flow.AddCall(group, {flow.AddFile()}));
    flow.AddWrite(flow.AddCall(group, parts));
    flow.plan.peak_values = 51;
    Simulation simulation(flow, seed);
    simulation.Run();
    EXPECT_LE(simulation.Gifts(), 50);
  }
}

TEST(SchedulerTest, WhatStaysIsTakenInTheWorkerThatMadeIt) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    Flow flow;
    const auto group = flow.AddGroup(4);
    std::set<ValueId> parts;
    for (int i = 0; i < 20; ++i) parts.insert(flow.AddCall(group, {flow.AddFile()}));
    flow.AddWrite(flow.AddCall(group, {parts.begin(), parts.end()}, parts));
    // Others may use the other workers meanwhile.
    for (int i = 0; i < 20; ++i) flow.AddCall(group, {flow.AddFile()});
    flow.plan.peak_values = 21;
    Simulation simulation(flow, seed);
    simulation.Run();
    EXPECT_EQ(simulation.Gifts(), 0);
    EXPECT_GE(simulation.MostBusy(), 2U);
  }
}

TEST(SchedulerTest, AWorkerThatMustDoTheRestMayBeReplacedWhileItHasNothing) {
  // Two calls that only files go into, tied by the one that takes both.
  Flow flow;
  const auto group = flow.AddGroup(1);
  const ValueId a = flow.AddCall(group, {flow.AddFile()});
  const ValueId b = flow.AddCall(group, {flow.AddFile()});
  flow.AddWrite(flow.AddCall(group, {a, b}, {a, b}));
  flow.plan.peak_values = 3;
  Scheduler scheduler(flow.plan, flow.placement, flow.function_of_step);
  ASSERT_EQ(scheduler.Next().size(), 1U);
  scheduler.Up(1, group);
  ASSERT_TRUE(scheduler.Lost(1));
  ASSERT_EQ(scheduler.Next().at(0).kind, Kind::kStartWorker);
  scheduler.Up(2, group);
  const auto commands = scheduler.Next();
  ASSERT_EQ(commands.size(), 1U);
  EXPECT_EQ(commands[0].kind, Kind::kRead);
  EXPECT_EQ(commands[0].worker, 2U);
  EXPECT_FALSE(scheduler.Lost(2)) << "it reads a file";
}

TEST(SchedulerTest, AFileThatOnlyGoesToFilesIsReadOnceAndWrittenToEach) {
  Flow flow;
  flow.AddGroup(2);
  const ValueId file = flow.AddFile();
  flow.AddWrite(file);
  flow.AddWrite(file);
  Simulation simulation(flow, 1);
  simulation.Run();
  EXPECT_EQ(simulation.Reads(), 1);
}

TEST(SchedulerTest, AFileThatManyTakeIsReadOnceInEachWorker) {
  Flow flow;
  const auto group = flow.AddGroup(3);
  const ValueId logo = flow.AddFile();
  flow.AddWrite(logo);
  for (int i = 0; i < 30; ++i) flow.AddCall(group, {flow.AddFile(), logo});
  flow.plan.peak_values = 3;
  for (unsigned seed = 0; seed < 20; ++seed) {
    Simulation simulation(flow, seed);
    simulation.Run();
    EXPECT_LE(simulation.Reads(), 33);
    EXPECT_EQ(simulation.Gifts(), 0);
  }
}

// Any plan, any order of what happens: the simulation's own checks are the test.
TEST(SchedulerTest, AnyPlanIsCarriedOutOnceWhateverTheOrder) {
  for (unsigned seed = 0; seed < 400; ++seed) {
    std::minstd_rand random(seed);
    const auto below = [&random](std::size_t n) {
      return static_cast<std::uint32_t>(random() % n);
    };
    Flow flow;
    const std::uint32_t groups = 1 + below(4);
    for (std::uint32_t g = 0; g < groups; ++g) flow.AddGroup(1 + below(4));
    std::vector<ValueId> values;
    std::map<ValueId, std::uint32_t> made_in;  // By which group; files by none.
    for (std::uint32_t i = 0, n = below(8); i < n; ++i) values.push_back(flow.AddFile());
    for (std::uint32_t i = 0, n = below(40); i < n; ++i) {
      std::set<ValueId> parts;
      for (std::uint32_t p = 0, m = below(14); p < m && !values.empty(); ++p)
        parts.insert(values[below(values.size())]);
      const std::uint32_t group = below(groups);
      std::set<ValueId> staying;
      for (const ValueId part : parts)
        if (made_in.contains(part) && made_in[part] == group && below(8) == 0) staying.insert(part);
      values.push_back(flow.AddCall(group, {parts.begin(), parts.end()}, staying));
      made_in[values.back()] = group;
    }
    for (const ValueId value : values)
      for (std::uint32_t w = below(3); w > 0; --w) flow.AddWrite(value);
    // As BuildPlan: files that nobody uses are not read.
    std::erase_if(flow.plan.reads,
                  [&](const FileRead& read) { return flow.plan.values[read.value].uses == 0; });
    flow.plan.peak_values = below(6);
    Simulation simulation(flow, seed + 1000);
    simulation.Run();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

TEST(SchedulerTest, ALostWorkerThatHadNothingIsReplaced) {
  const Flow flow = Chains(1, 1, true);
  Scheduler scheduler(flow.plan, flow.placement, flow.function_of_step);
  ASSERT_EQ(scheduler.Next().size(), 1U);
  EXPECT_TRUE(scheduler.Lost(9)) << "it was never up";
  ASSERT_TRUE(scheduler.Need(0, ipc::WantedWorker::kAny)) << "one is being started";
  EXPECT_TRUE(scheduler.Next().empty());
  scheduler.Up(1, 0);
  EXPECT_EQ(scheduler.Next().at(0).kind, Kind::kRead);
  EXPECT_FALSE(scheduler.Lost(1)) << "it reads a file";
}

TEST(SchedulerTest, AnotherWorkerIsStartedWithinTheGroupsNumber) {
  const Flow flow = Chains(2, 1, true);
  Scheduler scheduler(flow.plan, flow.placement, flow.function_of_step);
  ASSERT_EQ(scheduler.Next().size(), 1U) << "there is one call";
  EXPECT_TRUE(scheduler.Need(0, ipc::WantedWorker::kAnother)) << "one is being started";
  EXPECT_TRUE(scheduler.Next().empty());
  scheduler.Up(1, 0);
  static_cast<void>(scheduler.Next());
  EXPECT_TRUE(scheduler.Need(0, ipc::WantedWorker::kAny)) << "there is one";
  EXPECT_TRUE(scheduler.Next().empty());
  EXPECT_TRUE(scheduler.Need(0, ipc::WantedWorker::kAnother));
  const auto commands = scheduler.Next();
  ASSERT_EQ(commands.size(), 1U);
  EXPECT_EQ(commands[0].kind, Kind::kStartWorker);
  scheduler.Up(2, 0);
  EXPECT_FALSE(scheduler.Need(0, ipc::WantedWorker::kAnother)) << "it has as many as it may";
}

TEST(SchedulerTest, AnIdleGroupsLostWorkerComesBackWhenThereIsWork) {
  const Flow flow = Chains(1, 1, true);
  Scheduler scheduler(flow.plan, flow.placement, flow.function_of_step);
  ASSERT_EQ(scheduler.Next().size(), 1U);
  scheduler.Up(1, 0);
  ASSERT_TRUE(scheduler.Lost(1));
  const auto commands = scheduler.Next();
  ASSERT_EQ(commands.size(), 1U);
  EXPECT_EQ(commands[0].kind, Kind::kStartWorker);
}

TEST(SchedulerTest, WhenNoFurtherWorkerCanBeHadTheOthersDoTheWork) {
  const Flow flow = Chains(2, 5, true);
  Scheduler scheduler(flow.plan, flow.placement, flow.function_of_step);
  ASSERT_EQ(scheduler.Next().size(), 2U);
  scheduler.Up(1, 0);
  scheduler.StartFailed(0);
  EXPECT_EQ(scheduler.Workers(0), 1U);
  std::deque<Command> queue;
  const auto fetch = [&] {
    for (const Command& command : scheduler.Next()) {
      EXPECT_NE(command.kind, Kind::kStartWorker);
      if (command.kind != Kind::kDrop) queue.push_back(command);
    }
  };
  for (fetch(); !queue.empty(); fetch()) {
    const Command command = queue.front();
    queue.pop_front();
    scheduler.Done(command, 1);
  }
  EXPECT_TRUE(scheduler.Finished());
}

}  // namespace
}  // namespace cwasi::workflow
