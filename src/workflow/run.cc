// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/errno_text.h"
#include "host/interrupt.h"
#include "host/worker_process.h"
#include "os/atomic_file.h"

namespace cwasi::workflow {
namespace {

// For requests that run no guest; reading or writing a file of a gigabyte may take a while.
constexpr std::chrono::seconds kFileTimeout{600};
constexpr std::chrono::seconds kRequestTimeout{30};
// Beyond a call's own timeout: the worker ends itself after its grace, this is the second line.
constexpr std::chrono::seconds kSlack{5};

class Runner {
 public:
  Runner(const Loaded& loaded, const RunOptions& options, host::WorkerProcess& worker)
      : loaded_(loaded), options_(options), worker_(worker) {
    report_.worker = worker.Hello();
    report_.policy = options.payload;
    for (const Step& step : loaded.workflow.steps)
      report_.steps.push_back({.name = step.name.text, .function = step.call.text});
  }

  using Done = tl::expected<void, RunFailure>;

  tl::expected<RunReport, RunFailure> Run(const std::vector<UniqueFd>& modules) {
    const MonotonicNs start = Now();
    if (auto done = Start(modules); !done) return tl::unexpected(std::move(done).error());
    for (const Action& action : loaded_.plan.actions)
      if (auto done = Do(action); !done) return tl::unexpected(std::move(done).error());
    report_.duration = std::chrono::nanoseconds(Now() - start);
    if (auto done = Collect(); !done) return tl::unexpected(std::move(done).error());
    return std::move(report_);
  }

 private:
  Done Start(const std::vector<UniqueFd>& modules);
  Done Collect();
  Done Do(const Action& action) {
    switch (action.kind) {
      case Action::Kind::kRead:
        return Read(loaded_.plan.reads[action.index]);
      case Action::Kind::kCall:
        return Call(loaded_.plan.tasks[action.index]);
      case Action::Kind::kWrite:
        return Write(loaded_.plan.writes[action.index]);
      case Action::Kind::kDrop:
        return Simple(ipc::Drop{.value_id = action.index}, "drop a value");
    }
    return {};
  }
  Done Read(const FileRead& read);
  Done Write(const FileWrite& write);
  Done Call(const Task& task);
  [[nodiscard]] std::string EmptyParts(const Task& task) const;
  Done Simple(ipc::RequestBody body, const std::string& where, int fd = -1) {
    if (auto done = worker_.Do(std::move(body), fd, kRequestTimeout); !done)
      return Failed(where, done.error());
    return {};
  }
  tl::unexpected<RunFailure> Failed(std::string where, const Error& error) {
    return tl::unexpected(RunFailure{
        .where = std::move(where),
        .message = error.message +
                   (error.sys_errno != 0 ? std::string(": ") + ErrnoText(error.sys_errno) : ""),
        .call = {}});
  }
  // The worker has ended in the middle of a call.
  RunFailure Lost(std::string where, const Error& error);

  const Loaded& loaded_;
  const RunOptions& options_;
  host::WorkerProcess& worker_;
  RunReport report_;
  std::size_t calls_done_ = 0;
  std::set<std::uint64_t> empty_;  // Results without a byte.
};

Runner::Done Runner::Start(const std::vector<UniqueFd>& modules) {
  if (auto done = Simple(ipc::Configure{.payload_budget_bytes = options_.payload_budget_bytes,
                                        .payload = options_.payload},
                         "configure the worker");
      !done)
    return done;
  const auto& functions = loaded_.workflow.functions;
  for (std::size_t i = 0; i < functions.size(); ++i) {
    const Function& f = functions[i];
    ipc::LoadFunction load{.id = static_cast<std::uint32_t>(i),
                           .name = f.name.text,
                           .memory_limit_bytes = f.memory_limit_bytes,
                           .timeout = f.timeout,
                           .embed = f.embed,
                           .instances = f.instances,
                           .zero = f.zero};
    // Loading starts an instance, within the function's own timeout.
    if (auto done = worker_.Do(std::move(load), modules[i].Get(), f.timeout + kSlack); !done)
      return Failed("function " + f.name.text + " (" + loaded_.files.modules[i].string() + ")",
                    done.error());
  }
  return {};
}

Runner::Done Runner::Read(const FileRead& read) {
  const std::string where = "input file " + read.path.string();
  const UniqueFd fd(::open(read.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd.IsOpen())
    return Failed(where,
                  Error{.code = ErrorCode::kNotFound, .sys_errno = errno, .message = "open"});
  auto answer = worker_.Call(
      ipc::ReadFile{.value_id = read.value, .name = loaded_.workflow.inputs[read.input].name.text},
      fd.Get(), kFileTimeout);
  if (!answer) return Failed(where, answer.error());
  if (const auto* error = std::get_if<Error>(&*answer)) return Failed(where, *error);
  if (const auto* file = std::get_if<ipc::FileReply>(&*answer)) report_.bytes_read += file->bytes;
  return {};
}

Runner::Done Runner::Write(const FileWrite& write) {
  const std::string where = "output " + loaded_.workflow.outputs[write.output].name.text + " (" +
                            write.path.string() + ")";
  auto file = os::AtomicFile::Create(write.path);
  if (!file)
    return tl::unexpected(RunFailure{.where = where, .message = file.error().message, .call = {}});
  auto answer = worker_.Call(ipc::WriteFile{.value_id = write.value}, file->Fd(), kFileTimeout);
  if (!answer) return Failed(where, answer.error());
  if (const auto* error = std::get_if<Error>(&*answer)) return Failed(where, *error);
  if (auto committed = file->Commit(); !committed)
    return tl::unexpected(
        RunFailure{.where = where, .message = committed.error().message, .call = {}});
  report_.written.push_back(write.path);
  return {};
}

RunFailure Runner::Lost(std::string where, const Error& error) {
  const auto& end = worker_.End();
  CallError call{.call_class = CallClass::kOutcomeUnknown,
                 .mode = CallMode::kEmbedded,
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

Runner::Done Runner::Call(const Task& task) {
  const Step& step = loaded_.workflow.steps[task.step];
  const Function& function = loaded_.workflow.functions[step.function];
  const std::string& item = loaded_.plan.values[task.result].name;
  const std::string where = "step " + step.name.text + " (function " + function.name.text + ")" +
                            (step.IsList() ? ", item " + item : "");
  ipc::Invoke invoke{.function_id = static_cast<std::uint32_t>(step.function),
                     .request_id = calls_done_ + 1,
                     .result_value_id = task.result,
                     .timeout = step.timeout.value_or(function.timeout),
                     .step = step.name.text,
                     .parts = {},
                     .metadata = step.with};
  for (const Use& use : task.parts)
    invoke.parts.push_back(
        {.value_id = use.value, .pass = use.pass, .name = loaded_.plan.values[use.value].name});
  const auto timeout = std::min(invoke.timeout, function.timeout) + kSlack;
  auto answer = worker_.Call(std::move(invoke), -1, timeout);
  if (!answer) return tl::unexpected(Lost(where, answer.error()));
  if (const auto* error = std::get_if<Error>(&*answer)) return Failed(where, *error);
  if (auto* error = std::get_if<CallError>(&*answer)) {
    error->message += EmptyParts(task);
    return tl::unexpected(
        RunFailure{.where = where, .message = error->message, .call = std::move(*error)});
  }
  if (const auto* reply = std::get_if<ipc::InvokeReply>(&*answer)) {
    if (reply->result_bytes == 0) empty_.insert(task.result);
    StepReport& mine = report_.steps[task.step];
    ++mine.calls;
    mine.result_bytes += reply->result_bytes;
    mine.duration += reply->duration;
    mine.longest = std::max(mine.longest, reply->duration);
  }
  ++calls_done_;
  if (options_.on_progress)
    options_.on_progress({.calls_done = calls_done_,
                          .calls = loaded_.plan.tasks.size(),
                          .step = step.name.text,
                          .item = step.IsList() ? std::string_view(item) : std::string_view()});
  return {};
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

Runner::Done Runner::Collect() {
  auto answer = worker_.Call(ipc::GetReport{}, -1, kRequestTimeout);
  if (!answer) return Failed("report", answer.error());
  if (auto* reply = std::get_if<ipc::ReportReply>(&*answer)) {
    report_.payload = reply->payload;
    report_.edges = std::move(reply->edges);
  }
  std::map<std::string_view, std::size_t> order;
  for (std::size_t i = 0; i < report_.steps.size(); ++i) order[report_.steps[i].name] = i;
  const auto place = [&](const ipc::EdgeReport& edge) {
    const auto it = order.find(edge.callee);
    return it == order.end() ? order.size() : it->second;  // Calls between functions come last.
  };
  std::sort(report_.edges.begin(), report_.edges.end(), [&](const auto& a, const auto& b) {
    return std::pair(place(a), std::string_view(a.caller)) <
           std::pair(place(b), std::string_view(b.caller));
  });
  return {};
}

// Before anything runs: a result that cannot be written is known at once.
Runner::Done MakeFolders(const Plan& plan, const Workflow& workflow) {
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

void CheckRunnable(const Workflow& workflow, Mistakes& mistakes) {
  if (workflow.functions.size() < 2) return;
  for (const Function& f : workflow.functions)
    if (f.embed != ipc::Embed::kAllow)
      mistakes.Add(f.name.mark, "functions." + f.name.text + ".embed",
                   "must be allow: all functions of a workflow run in one worker process");
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
  host::InterruptScope interrupt;
  auto worker = host::WorkerProcess::Start(options.host_program);
  if (!worker)
    return tl::unexpected(
        RunFailure{.where = "start a worker", .message = worker.error().message, .call = {}});
  interrupt.Attach(worker->PidFd());
  auto report = Runner(loaded, options, *worker).Run(modules);
  if (report) worker->Stop(kSlack);
  interrupt.Attach(-1);  // Its descriptor closes now.
  return report;
}

}  // namespace cwasi::workflow
