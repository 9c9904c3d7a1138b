// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Runs a workflow's plan in worker processes that a zygote forks. No payload passes through this
// process: files are opened here and read and written by the workers, and values go from worker to
// worker.
//
// Thread: one. SIGINT, SIGTERM and SIGHUP end the run while it lasts.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "base/call_error.h"
#include "base/unique_fd.h"
#include "ipc/control.h"
#include "workflow/load.h"

namespace cwasi::workflow {

struct Progress {
  std::size_t calls_done = 0;
  std::size_t calls = 0;
  std::string_view step;  // Of the call that has ended.
  std::string_view item;
};

struct RunOptions {
  std::filesystem::path host_program;
  ipc::PayloadPolicy payload = ipc::PayloadPolicy::kAuto;
  std::uint64_t payload_budget_bytes = 8ULL << 30U;  // Of each worker.
  std::uint32_t cpus = 0;  // Workers of a group if the file does not say; 0: what there are.
  std::function<void(const Progress&)> on_progress = {};  // After each call; may be empty.
};

struct StepReport {
  std::string name;
  std::string function;
  std::uint64_t calls = 0;
  std::uint64_t result_bytes = 0;
  std::chrono::nanoseconds duration{};  // Of all calls together.
  std::chrono::nanoseconds longest{};
};

struct RunReport {
  std::chrono::nanoseconds duration{};
  std::vector<StepReport> steps;       // In the order of the file.
  std::vector<ipc::EdgeReport> edges;  // By step that takes, then by what it takes from.
  ipc::PayloadReport payload;
  ipc::HelloReply worker;   // What the first one said of the machine.
  std::size_t workers = 0;  // That were started.
  std::string sandbox;      // What was around them, in one line.
  ipc::PayloadPolicy policy = ipc::PayloadPolicy::kAuto;
  std::uint64_t bytes_read = 0;
  std::vector<std::filesystem::path> written;
};

struct RunFailure {
  std::string where;  // "step sheet", "step decoded, item coast", "output sheet"; may be empty.
  std::string message;
  std::optional<CallError> call;  // If a function's call failed.
  int signal = 0;                 // That ended the run; then there is nothing else to say.
};
// For a person; several lines if there are frames.
std::string Describe(const RunFailure& failure);

// What is allowed and most likely not meant: steps whose result nobody takes.
std::vector<Mistake> Remarks(const Workflow& workflow);

// `modules` are the compiled modules, opened, one for each function. Folders of outputs are made.
// The first failure that shows ends all workers; outputs that were written before stay, each whole.
tl::expected<RunReport, RunFailure> Run(const Loaded& loaded, const std::vector<UniqueFd>& modules,
                                        const RunOptions& options);

// The tables that end a run.
std::string FormatReport(const RunReport& report);

}  // namespace cwasi::workflow
