// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <set>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "base/errno_text.h"
#include "loop/loop.h"
#include "os/atomic_file.h"
#include "workflow/edges.h"
#include "workflow/placement.h"
#include "workflow/scheduler.h"
#include "workflow/workers.h"

namespace cwasi::workflow {
namespace {

// For requests that run no guest; reading or writing a file of a gigabyte may take a while.
constexpr std::chrono::seconds kFileTimeout{600};
constexpr std::chrono::seconds kRequestTimeout{30};
// The taker may be in a long call, and its channel full until it has ended.
constexpr std::chrono::seconds kGiveTimeout{600};
// Beyond a call's own timeout: the worker ends itself after its grace, this is the second line.
constexpr std::chrono::seconds kSlack{5};
constexpr std::chrono::seconds kShutdownTimeout{5};

std::vector<std::uint32_t> FunctionOfStep(const Workflow& workflow) {
  std::vector<std::uint32_t> functions;
  functions.reserve(workflow.steps.size());
  for (const Step& step : workflow.steps)
    functions.push_back(static_cast<std::uint32_t>(step.function));
  return functions;
}

// By value: the input or step that makes it.
std::vector<std::string_view> ProducersOf(const Loaded& loaded) {
  std::vector<std::string_view> producers(loaded.plan.values.size());
  for (const FileRead& read : loaded.plan.reads)
    producers[read.value] = loaded.workflow.inputs[read.input].name.text;
  for (const Task& task : loaded.plan.tasks)
    producers[task.result] = loaded.workflow.steps[task.step].name.text;
  return producers;
}

// Carries out what the scheduler says and tells it what came of it.
class Runner {
 public:
  Runner(loop::Loop& loop, const Loaded& loaded, const Placement& placement,
         const std::vector<UniqueFd>& modules, const RunOptions& options)
      : loop_(loop),
        loaded_(loaded),
        options_(options),
        function_of_step_(FunctionOfStep(loaded.workflow)),
        producers_(ProducersOf(loaded)),
        scheduler_(loaded.plan, placement, function_of_step_),
        workers_(loop, loaded, placement, modules,
                 {.host_program = options.host_program,
                  .payload = options.payload,
                  .payload_budget_bytes = options.payload_budget_bytes},
                 {.up =
                      [this](ipc::WorkerId id, std::uint32_t group) {
                        scheduler_.Up(id, group);
                        // It can be introduced a moment later.
                        if (!loop_.Post([this] { Go(); }))
                          Fail("start a worker", {.code = ErrorCode::kResourceExhausted,
                                                  .message = "no room in the event loop"});
                      },
                  .start_failed =
                      [this](std::uint32_t group, const Error& error) {
                        scheduler_.StartFailed(group);
                        if (scheduler_.Workers(group) == 0) Fail("start a worker", error);
                      },
                  .lost =
                      [this](ipc::WorkerId id) {
                        const bool can_go_on = scheduler_.Lost(id);
                        if (can_go_on) Go();
                        return can_go_on;
                      },
                  .need =
                      [this](std::uint32_t group, ipc::WantedWorker worker) {
                        // Started outside of the introducer that asks.
                        return scheduler_.Need(group, worker) && loop_.Post([this] { Go(); });
                      },
                  .failed = [this](const std::string& where,
                                   const Error& error) { Fail(where, error); }}) {
    report_.policy = options.payload;
    for (const Step& step : loaded.workflow.steps)
      report_.steps.push_back({.name = step.name.text, .function = step.call.text});
  }

  tl::expected<RunReport, RunFailure> Run() {
    if (auto started = workers_.StartZygote(); !started) {
      Fail("start the zygote", started.error());
    } else {
      const MonotonicNs start = Now();
      Go();
      if (!IsOver()) loop_.Run();
      report_.duration = std::chrono::nanoseconds(Now() - start);
    }
    if (!failure_) Collect();
    if (failure_) return tl::unexpected(std::move(*failure_));
    workers_.Shutdown(kShutdownTimeout);
    if (failure_) return tl::unexpected(std::move(*failure_));
    std::ranges::sort(written_);
    for (const std::uint32_t write : written_)
      report_.written.push_back(loaded_.plan.writes[write].path);
    return std::move(report_);
  }

  void Interrupt(int signal) {
    Fail(RunFailure{.where = {}, .message = {}, .call = {}, .signal = signal});
  }

 private:
  [[nodiscard]] bool IsOver() const { return failure_.has_value() || scheduler_.Finished(); }

  void Go() {
    // An act may fail at once and come back here.
    if (std::exchange(going_, true)) return;
    while (!IsOver()) {
      const auto commands = scheduler_.Next();
      if (commands.empty()) break;
      for (const Command& command : commands) {
        if (failure_) break;
        Do(command);
      }
    }
    going_ = false;
    if (IsOver()) loop_.Stop();
  }

  void Do(const Command& command);
  void Read(const Command& command);
  void Give(const Command& command);
  void Call(const Command& command);
  void Write(const Command& command);
  void Drop(const Command& command);
  void CallEnded(const Command& command, Result<ipc::ResponseBody> answer,
                 const std::string& where);

  // Asks; what is no answer of the kind T fails the run.
  template <class T, class OnAnswer>
  void Ask(const Command& command, ipc::RequestBody body, UniqueFd fd,
           std::chrono::nanoseconds timeout, std::string where, OnAnswer on_answer) {
    workers_.Find(command.worker)
        ->Ask(std::move(body), std::move(fd), timeout,
              [this, command, where = std::move(where),
               on_answer = std::move(on_answer)](Result<ipc::ResponseBody> answer) {
                if (failure_) return;
                if (!answer) return Fail(where, answer.error());
                if (const auto* error = std::get_if<Error>(&*answer)) return Fail(where, *error);
                const auto* expected = std::get_if<T>(&*answer);
                if (expected == nullptr)
                  return Fail(where, {.code = ErrorCode::kInternal,
                                      .message = "the worker gave an answer of another kind"});
                on_answer(*expected);
              });
  }
  void Done(const Command& command, std::uint64_t bytes) {
    if (failure_) return;
    scheduler_.Done(command, bytes);
    workers_.SetOutstanding(command.worker, scheduler_.Outstanding(command.worker));
    Go();
  }

  void Fail(RunFailure failure) {
    if (!failure_) failure_ = std::move(failure);
    loop_.Stop();
  }
  void Fail(const std::string& where, const Error& error) {
    Fail(RunFailure{
        .where = where,
        .message = error.message +
                   (error.sys_errno != 0 ? std::string(": ") + ErrnoText(error.sys_errno) : ""),
        .call = {}});
  }
  // The worker has ended in the middle of a call.
  static RunFailure LostCall(std::string where, const Error& error,
                             const std::optional<os::ProcessEnd>& end);
  [[nodiscard]] std::string EmptyParts(const Task& task) const;
  void Collect();

  loop::Loop& loop_;
  const Loaded& loaded_;
  const RunOptions& options_;
  std::vector<std::uint32_t> function_of_step_;
  std::vector<std::string_view> producers_;
  Scheduler scheduler_;
  bool going_ = false;
  std::optional<RunFailure> failure_;
  RunReport report_;
  std::size_t calls_done_ = 0;
  std::set<std::uint64_t> empty_;                              // Results without a byte.
  std::unordered_map<std::uint32_t, os::AtomicFile> writing_;  // By place in Plan::writes.
  std::vector<std::uint32_t> written_;
  Workers workers_;  // Last: its workers end first.
};

void Runner::Do(const Command& command) {
  switch (command.kind) {
    case Command::Kind::kStartWorker:
      return workers_.Start(command.index);
    case Command::Kind::kRead:
      return Read(command);
    case Command::Kind::kGive:
      return Give(command);
    case Command::Kind::kInvoke:
      return Call(command);
    case Command::Kind::kWrite:
      return Write(command);
    case Command::Kind::kDrop:
      return Drop(command);
  }
}

void Runner::Read(const Command& command) {
  const FileRead& read = loaded_.plan.reads[command.index];
  const std::string where = "input file " + read.path.string();
  UniqueFd fd(::open(read.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd.IsOpen())
    return Fail(where, {.code = ErrorCode::kNotFound, .sys_errno = errno, .message = "open"});
  Ask<ipc::FileReply>(
      command,
      ipc::ReadFile{.value_id = read.value, .name = loaded_.workflow.inputs[read.input].name.text},
      std::move(fd), kFileTimeout, where, [this, command](const ipc::FileReply& file) {
        report_.bytes_read += file.bytes;
        Done(command, file.bytes);
      });
}

void Runner::Give(const Command& command) {
  const std::string where =
      "hand " + loaded_.plan.values[command.index].name + " to another worker";
  if (auto met = workers_.Introduce(command.worker, command.peer); !met)
    return Fail(where, met.error());
  Ask<ipc::Done>(command,
                 ipc::GiveValue{.value_id = command.index,
                                .peer_worker = command.peer,
                                .as_value_id = command.index,
                                .pass = command.pass,
                                .timeout = kGiveTimeout},
                 {}, kGiveTimeout + kSlack, where,
                 [this, command](const ipc::Done&) { Done(command, 0); });
}

void Runner::Drop(const Command& command) {
  Ask<ipc::Done>(command, ipc::Drop{.value_id = command.index}, {}, kRequestTimeout, "drop a value",
                 [](const ipc::Done&) {});
}

void Runner::Write(const Command& command) {
  const FileWrite& write = loaded_.plan.writes[command.index];
  const std::string where = "output " + loaded_.workflow.outputs[write.output].name.text + " (" +
                            write.path.string() + ")";
  auto file = os::AtomicFile::Create(write.path);
  if (!file) return Fail(RunFailure{.where = where, .message = file.error().message, .call = {}});
  UniqueFd fd(::fcntl(file->Fd(), F_DUPFD_CLOEXEC, 0));
  if (!fd.IsOpen())
    return Fail(where,
                {.code = ErrorCode::kResourceExhausted, .sys_errno = errno, .message = "open"});
  writing_.emplace(command.index, std::move(*file));
  Ask<ipc::FileReply>(
      command, ipc::WriteFile{.value_id = write.value}, std::move(fd), kFileTimeout, where,
      [this, command, where](const ipc::FileReply& reply) {
        auto written = writing_.extract(command.index);
        if (auto committed = written.mapped().Commit(); !committed)
          return Fail(RunFailure{.where = where, .message = committed.error().message, .call = {}});
        written_.push_back(command.index);
        Done(command, reply.bytes);
      });
}

void Runner::Call(const Command& command) {
  const Task& task = loaded_.plan.tasks[command.index];
  const Step& step = loaded_.workflow.steps[task.step];
  const Function& function = loaded_.workflow.functions[step.function];
  std::string where = "step " + step.name.text + " (function " + function.name.text + ")" +
                      (step.IsList() ? ", item " + loaded_.plan.values[task.result].name : "");
  ipc::Invoke invoke{.function_id = static_cast<std::uint32_t>(step.function),
                     .request_id = command.index + 1,
                     .result_value_id = task.result,
                     .timeout = step.timeout.value_or(function.timeout),
                     .step = step.name.text,
                     .parts = {},
                     .metadata = step.with};
  for (std::size_t i = 0; i < task.parts.size(); ++i) {
    const ValueId value = task.parts[i].value;
    invoke.parts.push_back({.value_id = value,
                            .pass = command.passes[i],
                            .name = loaded_.plan.values[value].name,
                            .producer = std::string(producers_[value])});
  }
  auto timeout = std::min(invoke.timeout, function.timeout) + kSlack;
  if (workers_.IsFirstUse(command.worker, function_of_step_[task.step]))
    timeout += function.timeout;  // To start its first instance.
  workers_.SetOutstanding(command.worker, scheduler_.Outstanding(command.worker));
  workers_.Find(command.worker)
      ->Ask(std::move(invoke), {}, timeout,
            [this, command, where = std::move(where)](Result<ipc::ResponseBody> answer) {
              if (!failure_) CallEnded(command, std::move(answer), where);
            });
}

void Runner::CallEnded(const Command& command, Result<ipc::ResponseBody> answer,
                       const std::string& where) {
  const Task& task = loaded_.plan.tasks[command.index];
  const Step& step = loaded_.workflow.steps[task.step];
  if (!answer) return Fail(LostCall(where, answer.error(), workers_.Find(command.worker)->End()));
  if (const auto* error = std::get_if<Error>(&*answer)) return Fail(where, *error);
  if (auto* error = std::get_if<CallError>(&*answer)) {
    error->message += EmptyParts(task);
    return Fail(RunFailure{.where = where, .message = error->message, .call = std::move(*error)});
  }
  const auto* reply = std::get_if<ipc::InvokeReply>(&*answer);
  if (reply == nullptr)
    return Fail(where, {.code = ErrorCode::kInternal,
                        .message = "the worker gave an answer of another kind"});
  if (reply->result_bytes == 0) empty_.insert(task.result);
  StepReport& mine = report_.steps[task.step];
  ++mine.calls;
  mine.result_bytes += reply->result_bytes;
  mine.duration += reply->duration;
  mine.longest = std::max(mine.longest, reply->duration);
  ++calls_done_;
  if (options_.on_progress)
    options_.on_progress({.calls_done = calls_done_,
                          .calls = loaded_.plan.tasks.size(),
                          .step = step.name.text,
                          .item = step.IsList()
                                      ? std::string_view(loaded_.plan.values[task.result].name)
                                      : std::string_view()});
  Done(command, reply->result_bytes);
}

RunFailure Runner::LostCall(std::string where, const Error& error,
                            const std::optional<os::ProcessEnd>& end) {
  CallError call{.call_class = CallClass::kOutcomeUnknown,
                 .mode = CallMode::kLocal,  // A process that is not ours ran it.
                 .may_have_run = true,
                 .message = error.message};
  if (end && !end->by_signal && end->code == ipc::kExitOverrun) {
    call.call_class = CallClass::kTimeout;
    call.message = "the function did not stop at its deadline, so its worker was ended";
  }
  return {.where = std::move(where),
          .message = std::string(Name(call.call_class)),
          .call = std::move(call)};
}

// A function that forgot to respond shows in the one that takes its result.
std::string Runner::EmptyParts(const Task& task) const {
  const auto& needs = loaded_.workflow.steps[task.step].needs;
  std::string text;
  for (std::size_t i = 0; i < task.parts.size(); ++i) {
    if (!empty_.contains(task.parts[i].value)) continue;
    text += "; part " + std::to_string(i);
    if (task.parts.size() == needs.size()) text += ", from " + needs[i].name.text + ",";
    text += " is empty: a step's function that responds with nothing gives that";
    break;
  }
  return text;
}

// One report for all workers.
void Runner::Collect() {
  report_.workers = workers_.Started();
  report_.sandbox = workers_.Sandbox();
  if (const auto& machine = workers_.Machine()) report_.worker = *machine;
  EdgeSum edges;
  const auto live = workers_.Live();
  std::size_t left = live.size();
  for (const ipc::WorkerId id : live) {
    Ask<ipc::ReportReply>({.worker = id}, ipc::GetReport{}, {}, kRequestTimeout, "report",
                          [&](const ipc::ReportReply& reply) {
                            --left;
                            edges.Add(reply.edges);
                            report_.payload.segments += reply.payload.segments;
                            report_.payload.bytes += reply.payload.bytes;
                            report_.payload.peak_bytes += reply.payload.peak_bytes;
                            report_.payload.mappings += reply.payload.mappings;
                          });
  }
  while (left > 0 && !failure_) loop_.RunOnce(DeadlineAfter(Now(), kRequestTimeout));
  if (failure_) return;
  std::vector<std::string_view> order;
  order.reserve(report_.steps.size());
  for (const StepReport& step : report_.steps) order.push_back(step.name);
  report_.edges = edges.Sorted(order);
}

// Before anything runs: a result that cannot be written is known at once.
tl::expected<void, RunFailure> MakeFolders(const Plan& plan, const Workflow& workflow) {
  for (const FileWrite& write : plan.writes) {
    const auto folder =
        write.path.has_parent_path() ? write.path.parent_path() : std::filesystem::path(".");
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    const bool is_folder = std::filesystem::is_directory(write.path);
    if (!error && !is_folder && ::access(folder.c_str(), W_OK | X_OK) == 0) continue;
    const std::string why = error       ? error.message()
                            : is_folder ? "it is a folder"
                                        : ErrnoText(errno);
    return tl::unexpected(
        RunFailure{.where = "outputs." + workflow.outputs[write.output].name.text + ".file",
                   .message = "cannot write " + write.path.string() + ": " + why,
                   .call = {}});
  }
  return {};
}

}  // namespace

std::string Describe(const RunFailure& failure) {
  std::string text = failure.where.empty() ? "" : failure.where + ": ";
  text += failure.call ? Describe(*failure.call) : failure.message;
  if (failure.call && !failure.call->frames.empty()) text += "\n" + failure.call->frames;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::vector<Mistake> Remarks(const Workflow& workflow) {
  std::vector<bool> taken(workflow.steps.size());
  const auto take = [&](const Need& need) {
    if (need.source.kind == Source::Kind::kStep) taken[need.source.index] = true;
  };
  for (const Step& step : workflow.steps) std::ranges::for_each(step.needs, take);
  for (const Output& output : workflow.outputs) take(output.from);
  Mistakes remarks;
  for (std::size_t i = 0; i < workflow.steps.size(); ++i)
    if (!taken[i])
      remarks.Add(workflow.steps[i].name.mark, "steps." + workflow.steps[i].name.text,
                  "remark: nobody takes its result");
  return remarks.Sorted();
}

tl::expected<RunReport, RunFailure> Run(const Loaded& loaded, const std::vector<UniqueFd>& modules,
                                        const RunOptions& options) {
  if (auto made = MakeFolders(loaded.plan, loaded.workflow); !made)
    return tl::unexpected(std::move(made).error());
  const auto failed = [](const Error& error) {
    return tl::unexpected(RunFailure{.where = "start", .message = error.message, .call = {}});
  };
  auto loop = loop::Loop::Create();
  if (!loop) return failed(loop.error());
  Runner* running = nullptr;
  // Before the zygote starts: none must be missed while it does.
  const auto signals = loop::Signals::Create(**loop, {SIGINT, SIGTERM, SIGHUP},
                                             [&running](int s) { running->Interrupt(s); });
  if (!signals) return failed(signals.error());
  const Placement placement =
      Place(loaded.workflow, options.cpus != 0 ? options.cpus : CountCpus());
  Runner runner(**loop, loaded, placement, modules, options);
  running = &runner;
  return runner.Run();
}

}  // namespace cwasi::workflow
