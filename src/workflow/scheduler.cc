// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/scheduler.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace cwasi::workflow {

Scheduler::Scheduler(const Plan& plan, const Placement& placement,
                     const std::vector<std::uint32_t>& function_of_step)
    : plan_(plan),
      items_(plan.values.size()),
      writes_of_(plan.values.size()),
      takers_(plan.values.size()),
      groups_(placement.groups.size()) {
  for (std::size_t g = 0; g < groups_.size(); ++g) groups_[g].limit = placement.groups[g].workers;
  for (std::uint32_t w = 0; w < plan.writes.size(); ++w)
    writes_of_[plan.writes[w].value].push_back(w);
  for (std::uint32_t r = 0; r < plan.reads.size(); ++r) items_[plan.reads[r].value].read = r;
  for (std::size_t v = 0; v < items_.size(); ++v) items_[v].left = plan.values[v].uses;
  std::vector<std::uint32_t> rank(plan.tasks.size());
  std::uint32_t next_rank = 0;
  for (const Action& action : plan.actions)
    if (action.kind == Action::Kind::kCall) rank[action.index] = next_rank++;
  std::vector<bool> is_part(items_.size());
  for (std::uint32_t t = 0; t < plan.tasks.size(); ++t) {
    AddJob(placement.group_of[function_of_step[plan.tasks[t].step]], rank[t]);
    for (const Use& part : plan.tasks[t].parts) {
      is_part[part.value] = true;
      if (items_[part.value].read != kNone) continue;
      jobs_[t].takes_results = true;
      ++jobs_[t].awaited;
      takers_[part.value].push_back(t);
    }
  }
  for (const FileRead& read : plan.reads) {
    if (is_part[read.value]) continue;
    files_to_files_.push_back(read.value);
    AddJob(0, next_rank++);
  }
  TieKnots();
  unfinished_ = jobs_.size();
  for (std::uint32_t j = 0; j < jobs_.size(); ++j)
    if (jobs_[j].awaited == 0) MakeReady(j);
}

void Scheduler::AddJob(std::uint32_t group, std::uint32_t rank) {
  if (job_at_.size() <= rank) job_at_.resize(rank + 1);
  job_at_[rank] = static_cast<std::uint32_t>(jobs_.size());
  jobs_.push_back({.group = group, .rank = rank});
}

// A call and those that made what stays for it.
void Scheduler::TieKnots() {
  std::vector<std::uint32_t> maker(items_.size(), kNone);
  for (std::uint32_t t = 0; t < plan_.tasks.size(); ++t) maker[plan_.tasks[t].result] = t;
  std::vector<std::uint32_t> tied(plan_.tasks.size());  // To whom, in steps.
  std::iota(tied.begin(), tied.end(), 0U);
  const auto find = [&tied](std::uint32_t job) {
    while (tied[job] != job) job = tied[job] = tied[tied[job]];
    return job;
  };
  for (std::uint32_t t = 0; t < plan_.tasks.size(); ++t) {
    for (const Use& part : plan_.tasks[t].parts) {
      if (!part.stays) continue;
      CHECK(maker[part.value] != kNone && jobs_[maker[part.value]].group == jobs_[t].group);
      tied[find(t)] = find(maker[part.value]);
    }
  }
  for (std::uint32_t t = 0; t < plan_.tasks.size(); ++t) {
    const std::uint32_t first = find(t);
    if (first == t) continue;
    if (jobs_[first].knot == kNone) {
      jobs_[first].knot = static_cast<std::uint32_t>(knots_.size());
      knots_.push_back({.jobs = {first}});
    }
    jobs_[t].knot = jobs_[first].knot;
    knots_[jobs_[t].knot].jobs.push_back(t);
  }
}

std::size_t Scheduler::PartCount(std::uint32_t job) const {
  return IsCall(job) ? plan_.tasks[job].parts.size() : 1;
}

ValueId Scheduler::Part(std::uint32_t job, std::size_t part) const {
  return IsCall(job) ? plan_.tasks[job].parts[part].value
                     : files_to_files_[job - plan_.tasks.size()];
}

Scheduler::Holder* Scheduler::Find(Item& item, ipc::WorkerId worker) {
  const auto it = std::ranges::find(item.holders, worker, &Holder::worker);
  return it == item.holders.end() ? nullptr : &*it;
}

void Scheduler::MakeReady(std::uint32_t j) {
  Job& job = jobs_[j];
  for (std::size_t p = 0; p < PartCount(j) && !job.foreign && job.takes_results; ++p) {
    const Item& item = items_[Part(j, p)];
    job.foreign = item.read == kNone && std::ranges::none_of(item.holders, [&](const Holder& h) {
                    return workers_.at(h.worker).group == job.group;
                  });
  }
  GroupState& group = groups_[job.group];
  const ipc::WorkerId worker = job.knot == kNone ? 0 : knots_[job.knot].worker;
  if (worker != 0) {
    workers_.at(worker).bound.insert(job.rank);
    ++group.bound;
  } else {
    ReadyOf(group, job).insert(job.rank);
  }
  active_.insert(job.group);
}

std::vector<Command> Scheduler::Next() {
  const std::vector<std::uint32_t> groups(active_.begin(), active_.end());
  for (const std::uint32_t group : groups) {
    FillGroup(group);
    if (groups_[group].Ready() == 0 && groups_[group].bound == 0) active_.erase(group);
  }
  return std::exchange(commands_, {});
}

void Scheduler::FillGroup(std::uint32_t g) {
  GroupState& group = groups_[g];
  while (!group.idle.empty())
    if (!FillWorker(group)) return;  // Only calls that have to wait for memory or a busy worker.
  const std::size_t there = group.up.size() + group.starting;
  // Without any worker it is tried again, whatever failed before: then the run fails, or goes on.
  const bool may_start = !group.no_more || there == 0;
  if (may_start && there < group.limit && group.Ready() > group.starting) {
    const std::size_t more = std::min(group.limit - there, group.Ready() - group.starting);
    for (std::size_t i = 0; i < more; ++i) Emit({.kind = Command::Kind::kStartWorker, .index = g});
    group.starting += static_cast<std::uint32_t>(more);
  }
  Prefetch(group);
}

// Gives an idle worker the first call that one of them can make.
bool Scheduler::FillWorker(GroupState& group) {
  std::uint32_t first_bound = kNone;
  if (group.bound != 0) {
    for (const ipc::WorkerId idle : group.idle) {
      const auto& bound = workers_.at(idle).bound;
      if (!bound.empty()) first_bound = std::min(first_bound, *bound.begin());
    }
  }
  auto job = TakeReady(group, first_bound);
  ipc::WorkerId worker = 0;
  if (job) {
    worker = MostBytes({group.idle.begin(), group.idle.end()}, *job);
  } else if (first_bound != kNone) {
    job = job_at_[first_bound];
    worker = knots_[jobs_[*job].knot].worker;
    workers_.at(worker).bound.erase(first_bound);
    --group.bound;
  } else {
    return false;
  }
  group.idle.erase(worker);
  workers_.at(worker).running = *job;
  Assign(*job, worker);
  BeginIfReady(*job);
  return true;
}

// The worker is the one for all jobs of its knot from now on.
void Scheduler::Assign(std::uint32_t j, ipc::WorkerId worker) {
  Job& job = jobs_[j];
  job.worker = worker;
  ++given_;
  if (job.knot != kNone && std::exchange(knots_[job.knot].worker, worker) == 0) {
    GroupState& group = groups_[job.group];
    for (const std::uint32_t other : knots_[job.knot].jobs) {
      if (ReadyOf(group, jobs_[other]).erase(jobs_[other].rank) == 0) continue;
      workers_.at(worker).bound.insert(jobs_[other].rank);
      ++group.bound;
    }
  }
  Bring(j);
}

std::optional<std::uint32_t> Scheduler::TakeReady(GroupState& group, std::uint32_t below) {
  // With nothing under way somebody has to go on, however much is alive.
  const bool first_may = given_ == 0 || alive_ < plan_.peak_values + 2 * workers_.size();
  auto* from = &group.ready;
  if (first_may && !group.ready_first.empty() &&
      (group.ready.empty() || *group.ready_first.begin() < *group.ready.begin()))
    from = &group.ready_first;
  if (from->empty() || *from->begin() > below) return std::nullopt;
  const std::uint32_t job = job_at_[*from->begin()];
  from->erase(from->begin());
  return job;
}

// Nobody is idle: what comes first of another group's results goes to whom it will go to.
void Scheduler::Prefetch(GroupState& group) {
  while (!group.ready.empty() && group.idle.empty() && group.starting == 0) {
    const std::uint32_t job = job_at_[*group.ready.begin()];
    // Many values would fill the channels of a worker that does not take them while it is busy.
    if (!jobs_[job].foreign || PartCount(job) > kWindow) return;
    std::vector<ipc::WorkerId> free;
    for (const ipc::WorkerId worker : group.up)
      if (workers_.at(worker).next == kNone) free.push_back(worker);
    if (free.empty()) return;
    group.ready.erase(group.ready.begin());
    const ipc::WorkerId worker = MostBytes(free, job);
    workers_.at(worker).next = job;
    Assign(job, worker);
  }
}

// Of these; the first if none has any.
ipc::WorkerId Scheduler::MostBytes(const std::vector<ipc::WorkerId>& workers, std::uint32_t job) {
  if (workers.size() == 1) return workers.front();
  bytes_at_.clear();
  for (std::size_t p = 0; p < PartCount(job); ++p) {
    const Item& item = items_[Part(job, p)];
    // Without a byte it still saves a hand-over.
    for (const Holder& holder : item.holders) bytes_at_[holder.worker] += item.bytes + 1;
  }
  ipc::WorkerId best = workers.front();
  for (const ipc::WorkerId worker : workers)
    if (bytes_at_[worker] > bytes_at_[best]) best = worker;
  return best;
}

void Scheduler::Bring(std::uint32_t j) {
  Job& job = jobs_[j];
  while (job.next_part < PartCount(j) && job.under_way < kWindow)
    BringPart(j, Part(j, job.next_part++));
}

void Scheduler::BringPart(std::uint32_t j, ValueId value) {
  Job& job = jobs_[j];
  Item& item = items_[value];
  // If it is on its way there, it is for the job before this one, which is called first.
  if (Find(item, job.worker) != nullptr) return;
  ++job.under_way;
  if (item.read != kNone) {
    if (item.holders.empty()) Born();
    Hold(value, job.worker);
    return Emit({.kind = Command::Kind::kRead, .index = item.read, .worker = job.worker, .job = j});
  }
  ipc::WorkerId giver = 0;
  for (const Holder& holder : item.holders) {
    if (!holder.arrived) continue;
    if (giver == 0 || workers_.at(holder.worker).acts < workers_.at(giver).acts)
      giver = holder.worker;
  }
  CHECK(giver != 0);
  const auto pass = item.left == 1 ? ipc::Pass::kMove : ipc::Pass::kCopy;
  if (pass == ipc::Pass::kMove) LetGo(value, giver);
  Hold(value, job.worker);
  Emit({.kind = Command::Kind::kGive,
        .index = value,
        .worker = giver,
        .peer = job.worker,
        .pass = pass,
        .job = j});
}

void Scheduler::PartThere(std::uint32_t job) {
  --jobs_[job].under_way;
  Bring(job);
  BeginIfReady(job);
}

void Scheduler::BeginIfReady(std::uint32_t j) {
  const Job& job = jobs_[j];
  if (job.under_way != 0 || workers_.at(job.worker).running != j) return;
  if (IsCall(j)) return Invoke(j);
  End(j);
}

void Scheduler::Invoke(std::uint32_t j) {
  const ipc::WorkerId worker = jobs_[j].worker;
  Command command{.kind = Command::Kind::kInvoke, .index = j, .worker = worker, .job = j};
  Born();
  for (const Use& part : plan_.tasks[j].parts) {
    const bool last = --items_[part.value].left == 0;
    command.passes.push_back(last ? ipc::Pass::kMove : ipc::Pass::kCopy);
    if (last) Gone(part.value, worker);
  }
  Emit(std::move(command));
}

void Scheduler::End(std::uint32_t j) {
  --unfinished_;
  --given_;
  Worker& worker = workers_.at(jobs_[j].worker);
  worker.running = std::exchange(worker.next, kNone);
  if (worker.running != kNone) return BeginIfReady(worker.running);
  groups_[worker.group].idle.insert(jobs_[j].worker);
}

void Scheduler::Done(const Command& command, std::uint64_t bytes) {
  --workers_.at(command.worker).acts;
  switch (command.kind) {
    case Command::Kind::kRead: {
      const ValueId value = plan_.reads[command.index].value;
      items_[value].bytes = bytes;
      Find(items_[value], command.worker)->arrived = true;
      return WriteNext(value, command.job);
    }
    case Command::Kind::kGive:
      Find(items_[command.index], command.peer)->arrived = true;
      return PartThere(command.job);
    case Command::Kind::kInvoke: {
      const ValueId value = plan_.tasks[command.index].result;
      items_[value].bytes = bytes;
      Hold(value, command.worker);
      items_[value].holders.back().arrived = true;
      WriteNext(value, kNone);
      return End(command.job);
    }
    case Command::Kind::kWrite: {
      const ValueId value = plan_.writes[command.index].value;
      --writing_;
      --items_[value].left;
      return WriteNext(value, command.job);
    }
    case Command::Kind::kStartWorker:
    case Command::Kind::kDrop:
      break;
  }
  CHECK(false && "not a command with Done");
}

// One file after the other, before anybody else gets the value: each has it open meanwhile.
void Scheduler::WriteNext(ValueId value, std::uint32_t job) {
  Item& item = items_[value];
  const auto& writes = writes_of_[value];
  if (item.next_write < writes.size()) {
    const auto holder = std::ranges::find(item.holders, true, &Holder::arrived);
    ++writing_;
    return Emit({.kind = Command::Kind::kWrite,
                 .index = writes[item.next_write++],
                 .worker = holder->worker,
                 .job = job});
  }
  if (item.left == 0) Gone(value, 0);
  if (job != kNone) return PartThere(job);
  for (const std::uint32_t taker : takers_[value])
    if (--jobs_[taker].awaited == 0) MakeReady(taker);
}

void Scheduler::Hold(ValueId value, ipc::WorkerId worker) {
  items_[value].holders.push_back({.worker = worker});
  ++workers_.at(worker).values;
}

void Scheduler::LetGo(ValueId value, ipc::WorkerId worker) {
  std::erase_if(items_[value].holders, [&](const Holder& h) { return h.worker == worker; });
  --workers_.at(worker).values;
}

// Its last use is over: moved at one worker (0: at none), dropped at all others.
void Scheduler::Gone(ValueId value, ipc::WorkerId moved_at) {
  --alive_;
  const auto holders = items_[value].holders;
  for (const Holder& holder : holders) {
    LetGo(value, holder.worker);
    if (holder.worker != moved_at)
      Emit({.kind = Command::Kind::kDrop, .index = value, .worker = holder.worker});
  }
}

void Scheduler::Born() {
  peak_values_ = std::max(peak_values_, ++alive_);
}

void Scheduler::Emit(Command command) {
  const bool has_done =
      command.kind != Command::Kind::kStartWorker && command.kind != Command::Kind::kDrop;
  if (has_done) ++workers_.at(command.worker).acts;
  commands_.push_back(std::move(command));
}

void Scheduler::Up(ipc::WorkerId worker, std::uint32_t g) {
  GroupState& group = groups_[g];
  CHECK(group.starting > 0 && worker != 0);
  --group.starting;
  group.up.insert(worker);
  group.idle.insert(worker);
  workers_.emplace(worker, Worker{.group = g});
}

void Scheduler::StartFailed(std::uint32_t g) {
  --groups_[g].starting;
  groups_[g].no_more = true;
}

bool Scheduler::Lost(ipc::WorkerId id) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return true;
  const Worker& worker = it->second;
  if (worker.running != kNone || worker.next != kNone || worker.values != 0 || worker.acts != 0)
    return false;
  GroupState& group = groups_[worker.group];
  // It has nothing that would have to stay: another one may do the rest.
  for (Knot& knot : knots_)
    if (knot.worker == id) knot.worker = 0;
  for (const std::uint32_t rank : worker.bound) {
    ReadyOf(group, jobs_[job_at_[rank]]).insert(rank);
    --group.bound;
  }
  group.up.erase(id);
  group.idle.erase(id);
  workers_.erase(it);
  return true;
}

bool Scheduler::Need(std::uint32_t g, ipc::WantedWorker worker) {
  GroupState& group = groups_[g];
  const bool enough = worker == ipc::WantedWorker::kAny && !group.up.empty();
  if (group.starting > 0 || enough) return true;
  if ((group.no_more && !group.up.empty()) || group.up.size() >= group.limit) return false;
  ++group.starting;
  Emit({.kind = Command::Kind::kStartWorker, .index = g});
  return true;
}

std::size_t Scheduler::Outstanding(ipc::WorkerId id) const {
  const auto worker = workers_.find(id);
  if (worker == workers_.end()) return 0;
  return (worker->second.running != kNone ? 1U : 0U) + (worker->second.next != kNone ? 1U : 0U);
}

}  // namespace cwasi::workflow
