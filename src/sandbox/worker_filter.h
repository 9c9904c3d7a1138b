// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The system calls a worker may make, as seccomp filters. An allow list: what is not on it ends the
// process with SIGSYS, since nothing in a worker makes such a call unless it was taken over; an
// error instead would let the intruder try the next. The few calls that libraries try first and
// can do without get an error, and the two that name a path are answered in the process (paths.h).
//
// Source: seccomp(2), seccomp_rule_add(3); which calls a worker makes: strace of whole runs.
//
// Thread: the filters are compiled and installed by the thread that is alone in its process.

#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace cwasi::sandbox {

// Two stages: threads are made after the first.
enum class FilterStage : std::uint8_t { kStart, kServing };

struct FilterProgram {
  std::vector<sock_filter> instructions;
};

// Compiles by libseccomp. Where `cache` names a directory, the compiled program is kept there under
// the digest of the rules, and taken from there if it is whole and nobody else can have written it.
// Errors: kInternal, kUnimplemented (the machine's architecture).
Result<FilterProgram> CompileWorkerFilter(FilterStage stage, const std::filesystem::path& cache);

// Lets kStart's program signal the threads of process `own`, and of no other, from now on. The
// number is not known when the program is compiled.
void SetOwnProcess(FilterProgram& program, pid_t own);

// For the calling thread and its later children (kStart), or every thread of the process
// (kServing). Needs no_new_privs. Errors: by errno.
Result<> InstallFilter(FilterProgram& program, FilterStage stage);

}  // namespace cwasi::sandbox
