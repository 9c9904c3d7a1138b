// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Runs a workflow's plan in one worker process. No payload passes through this process: files are
// opened here and read and written by the worker.
//
// Thread: one.

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
  std::uint64_t payload_budget_bytes = 8ULL << 30U;
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
  ipc::HelloReply worker;
  ipc::PayloadPolicy policy = ipc::PayloadPolicy::kAuto;
  std::uint64_t bytes_read = 0;
  std::vector<std::filesystem::path> written;
};

struct RunFailure {
  std::string where;  // "step sheet", "step decoded, item coast", "output sheet"; may be empty.
  std::string message;
  std::optional<CallError> call;  // If a function's call failed.
};
// For a person; several lines if there are frames.
std::string Describe(const RunFailure& failure);

// What the file asks for and this version cannot do: with several functions in one worker each must
// allow to be embedded. Nothing else is looked at.
void CheckRunnable(const Workflow& workflow, Mistakes& mistakes);

// What is allowed and most likely not meant: steps whose result nobody takes.
std::vector<Mistake> Remarks(const Workflow& workflow);

// `modules` are the compiled modules, opened, one for each function. Folders of outputs are made.
// Outputs that were written before a failure stay, each whole.
tl::expected<RunReport, RunFailure> Run(const Loaded& loaded, const std::vector<UniqueFd>& modules,
                                        const RunOptions& options);

// The tables that end a run.
std::string FormatReport(const RunReport& report);

}  // namespace cwasi::workflow
