// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Decides what each worker does next: which calls go to which worker, which files it reads before,
// which values other workers hand it. Knows no process, socket or clock: it is told what has
// happened (Up, Lost, Done) and says what is to be done (Next).
//
// Order: of the calls that could be made the one that comes first in the plan, which is
// depth-first. It goes to the idle worker of its function's group that holds most bytes of its
// parts, else the group gets another worker, up to its number. If all are busy and a part lies in
// another group's worker, it is handed over already, so that the next idle worker can begin at
// once.
//
// Calls that parts which stay (Use::stays) tie together are made in one worker: in the one that got
// the first of them.
//
// Memory: calls that take only files wait while more values are alive than the plan has alive in
// sequence, and two for each worker.
//
// Invariants: a call is made once, when all its parts are in its worker; a value is handed to a
// worker at most once; it is moved into its last call, or dropped, in each worker that has it.
// Thread: one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "ipc/control.h"
#include "ipc/introduction.h"
#include "workflow/placement.h"
#include "workflow/plan.h"

namespace cwasi::workflow {

struct Command {
  enum class Kind : std::uint8_t {
    kStartWorker,  // Of group `index`; answered by Up or StartFailed.
    kRead,         // Plan::reads[index] at `worker`.
    kGive,         // Value `index` from `worker` to `peer`, which are of one run's groups.
    kInvoke,       // Plan::tasks[index] at `worker`.
    kWrite,        // Plan::writes[index] at `worker`.
    kDrop,         // Value `index` at `worker`; needs no Done.
  };
  Kind kind = Kind::kStartWorker;
  std::uint32_t index = 0;
  ipc::WorkerId worker = 0;
  ipc::WorkerId peer = 0;
  ipc::Pass pass = ipc::Pass::kCopy;   // Of kGive.
  std::vector<ipc::Pass> passes = {};  // Of each part of kInvoke.
  std::uint32_t job = UINT32_MAX;      // The scheduler's own: for which of its jobs it is.
};

class Scheduler {
 public:
  // All three outlive it. `function_of_step` as in Workflow::steps.
  Scheduler(const Plan& plan, const Placement& placement,
            const std::vector<std::uint32_t>& function_of_step);

  // Commands for a worker are to be carried out in their order.
  std::vector<Command> Next();

  void Up(ipc::WorkerId worker, std::uint32_t group);
  void StartFailed(std::uint32_t group);
  // A worker has ended. False: it had work or values, so the run cannot go on.
  [[nodiscard]] bool Lost(ipc::WorkerId worker);
  // The group shall have a worker, or another one within its number, whatever the plan needs.
  // True: it has or gets one; of several wishes at a time one comes.
  [[nodiscard]] bool Need(std::uint32_t group, ipc::WantedWorker worker);
  // `bytes`: of the value read or made.
  void Done(const Command& command, std::uint64_t bytes);

  [[nodiscard]] bool Finished() const { return unfinished_ == 0 && writing_ == 0; }
  [[nodiscard]] std::size_t Workers(std::uint32_t group) const { return groups_[group].up.size(); }
  // Calls given to a worker and not done.
  [[nodiscard]] std::size_t Outstanding(ipc::WorkerId worker) const;
  [[nodiscard]] std::size_t PeakValues() const { return peak_values_; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  // Parts of one call that are being brought at once: each may hold an open file.
  static constexpr std::uint32_t kWindow = 8;

  // The calls of the plan, then one for each input that only goes to outputs.
  struct Job {
    std::uint32_t group = 0;
    std::uint32_t rank = 0;
    std::uint32_t awaited = 0;    // Results not made yet.
    ipc::WorkerId worker = 0;     // Once it is given.
    std::uint32_t next_part = 0;  // The first that nobody was asked for.
    std::uint32_t under_way = 0;  // Parts asked for and not there.
    std::uint32_t knot = kNone;   // In knots_.
    bool takes_results = false;
    bool foreign = false;  // A part lies in no worker of its group. Known when it is ready.
  };
  // Jobs that must be done in one worker.
  struct Knot {
    std::vector<std::uint32_t> jobs;
    ipc::WorkerId worker = 0;  // Once one of them is given.
  };
  struct Holder {
    ipc::WorkerId worker = 0;
    bool arrived = false;
  };
  struct Item {  // A value.
    // Uses to come: parts of calls not made yet, files not written yet.
    std::uint32_t left = 0;
    std::uint32_t read = kNone;    // In Plan::reads.
    std::uint32_t next_write = 0;  // In writes_of_.
    std::uint64_t bytes = 0;
    std::vector<Holder> holders;
  };
  struct Worker {
    std::uint32_t group = 0;
    std::uint32_t running = kNone;  // Its parts are brought, then it is called.
    std::uint32_t next = kNone;     // The one after: its parts are brought already.
    std::size_t values = 0;
    std::size_t acts = 0;                // Commands without Done.
    std::set<std::uint32_t> bound = {};  // Ranks of ready jobs that only it may do.
  };
  struct GroupState {
    std::uint32_t limit = 1;
    std::uint32_t starting = 0;
    bool no_more = false;  // One could not be started; those that are up must do.
    std::set<ipc::WorkerId> up;
    std::set<ipc::WorkerId> idle;
    std::set<std::uint32_t> ready;        // Ranks of jobs that take results.
    std::set<std::uint32_t> ready_first;  // Of those that take only files.
    std::size_t bound = 0;                // Ready jobs that a worker here has to itself.
    [[nodiscard]] std::size_t Ready() const { return ready.size() + ready_first.size(); }
  };

  void AddJob(std::uint32_t group, std::uint32_t rank);
  void TieKnots();
  [[nodiscard]] bool IsCall(std::uint32_t job) const { return job < plan_.tasks.size(); }
  [[nodiscard]] std::size_t PartCount(std::uint32_t job) const;
  [[nodiscard]] ValueId Part(std::uint32_t job, std::size_t part) const;
  static Holder* Find(Item& item, ipc::WorkerId worker);

  void MakeReady(std::uint32_t job);
  void FillGroup(std::uint32_t group);
  bool FillWorker(GroupState& group);
  std::optional<std::uint32_t> TakeReady(GroupState& group, std::uint32_t below);
  void Assign(std::uint32_t job, ipc::WorkerId worker);
  static std::set<std::uint32_t>& ReadyOf(GroupState& group, const Job& job) {
    return job.takes_results ? group.ready : group.ready_first;
  }
  void Prefetch(GroupState& group);
  ipc::WorkerId MostBytes(const std::vector<ipc::WorkerId>& workers, std::uint32_t job);

  void Bring(std::uint32_t job);
  void BringPart(std::uint32_t job, ValueId value);
  void PartThere(std::uint32_t job);
  void BeginIfReady(std::uint32_t job);
  void Invoke(std::uint32_t job);
  void End(std::uint32_t job);

  void WriteNext(ValueId value, std::uint32_t job);
  void Hold(ValueId value, ipc::WorkerId worker);
  void LetGo(ValueId value, ipc::WorkerId worker);
  void Gone(ValueId value, ipc::WorkerId moved_at);
  void Born();
  void Emit(Command command);

  const Plan& plan_;
  std::vector<Job> jobs_;
  std::vector<ValueId> files_to_files_;  // The values of the jobs beyond the plan's calls.
  std::vector<std::uint32_t> job_at_;    // By rank.
  std::vector<Knot> knots_;
  std::vector<Item> items_;
  std::vector<std::vector<std::uint32_t>> writes_of_;  // By value.
  std::vector<std::vector<std::uint32_t>> takers_;     // By value: jobs that wait for it.
  std::vector<GroupState> groups_;
  std::set<std::uint32_t> active_;  // Groups with ready jobs.
  std::unordered_map<ipc::WorkerId, Worker> workers_;
  std::unordered_map<ipc::WorkerId, std::uint64_t> bytes_at_;  // Scratch of MostBytes.
  std::vector<Command> commands_;
  std::size_t unfinished_ = 0;
  std::size_t given_ = 0;    // Jobs with a worker that have not ended.
  std::size_t writing_ = 0;  // Files.
  std::size_t alive_ = 0;    // Values, and results to come of calls under way.
  std::size_t peak_values_ = 0;
};

}  // namespace cwasi::workflow
