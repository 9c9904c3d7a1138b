// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What of the sandbox holds on this machine, for people: `cwasi doctor` and a run's table.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace cwasi::sandbox {

enum class FactState : std::uint8_t { kHolds, kDoesNotHold, kNotApplicable };

struct Fact {
  std::string name;
  std::string means = {};  // What of the kernel does it; several facts may share it.
  FactState state = FactState::kDoesNotHold;
  std::string why;     // How it is done, or why it is not.
  std::string advice;  // What the user can do about it; may be empty.
};

// Makes a whole sandbox with a process in it and tells how far that went: a few milliseconds. The
// caller is the only thread of its process. Errors: no sandbox that cwasi would run guests in can
// be made; the message says why.
Result<std::vector<Fact>> MeasureFacts();

// One line: "all of it", or what does not hold.
std::string Summarize(std::span<const Fact> facts);

// One line: "sandboxed by seccomp, namespaces; not here: cgroups (why)". A means counts as there if
// one of its facts holds.
std::string SummarizeMeans(std::span<const Fact> facts);

}  // namespace cwasi::sandbox
