// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A workflow as its file states it: functions, the inputs that come from files, the steps that call
// functions, the outputs that go to files. ParseWorkflow (workflow/file.h) makes one.
//
// Names as the user spelt them keep their place in the file, for mistakes that show later.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ipc/control.h"
#include "workflow/mistakes.h"

namespace cwasi::workflow {

inline constexpr std::size_t kMaxSteps = 10'000;
inline constexpr std::size_t kMaxItems = 65'536;  // Of one list; and parts of one call.
inline constexpr std::size_t kMaxNameBytes = 64;
inline constexpr std::size_t kMaxFunctions = 10'000;
inline constexpr std::uint32_t kMaxWorkers = 1024;  // Of one group.

struct Spelt {
  std::string text;
  Mark mark;
};

// How a function may be called, and how a value may go from step to step; of both, the runtime
// chooses.
enum class Modes : std::uint8_t {
  kBoth,      // Embedded if `embed` allows it.
  kEmbedded,  // Only in its caller's worker; a value: only in the worker that made it.
  kLocal,     // Only in another worker.
};

// How a function may call another one, besides what that one says.
struct CallRule {
  Spelt callee;
  std::size_t function = 0;  // What `callee` names.
  Modes modes = Modes::kBoth;
};

struct Function {
  Spelt name;
  Spelt path;  // Of the module, relative to the workflow file's folder.
  ipc::Embed embed = ipc::Embed::kDeny;
  std::uint64_t memory_limit_bytes = 512ULL << 20U;
  std::chrono::nanoseconds timeout = std::chrono::seconds(60);
  ipc::Instances instances = ipc::Instances::kReused;
  ipc::Zero zero = ipc::Zero::kNever;
  Modes modes = Modes::kBoth;
  std::optional<std::uint32_t> workers;  // Instead of the workflow's; 1 to kMaxWorkers.
  std::vector<CallRule> calls;           // No callee twice.
  // Of those that are IsShared(): which share workers with each other. ShareWorkers sets it.
  std::uint32_t share = 0;

  // Whether it runs in workers together with others that do, or in workers of its own.
  [[nodiscard]] bool IsShared() const {
    return embed == ipc::Embed::kAllow && modes != Modes::kLocal;
  }
};

enum class InputKind : std::uint8_t { kFile, kFiles, kGlob };

struct Input {
  Spelt name;
  InputKind kind = InputKind::kFile;
  std::vector<Spelt> paths;  // Relative to the workflow file's folder. One, but for kFiles.
  // One match of a glob is a list, too.
  [[nodiscard]] bool IsList() const { return kind != InputKind::kFile; }
};

// Where a value comes from: an input or a step, by its place in the Workflow.
struct Source {
  enum class Kind : std::uint8_t { kUnknown, kInput, kStep };
  Kind kind = Kind::kUnknown;  // Unknown only while there are mistakes.
  std::size_t index = 0;
  bool operator==(const Source&) const = default;
};

struct Need {
  Spelt name;
  Source source;
  Modes modes = Modes::kBoth;  // Of the way from the step that makes it.
};

struct Step {
  Spelt name;
  Spelt call;
  std::size_t function = 0;  // What `call` names.
  std::vector<Need> needs;   // In the order of the parts. No source twice.
  std::optional<Spelt> for_each_name;
  std::optional<std::size_t> for_each;  // What it names: a place in `needs`.
  std::vector<ipc::Metadata> with;
  std::optional<std::chrono::nanoseconds> timeout;  // Besides the function's.
  [[nodiscard]] bool IsList() const { return for_each_name.has_value(); }
};

struct Output {
  Spelt name;
  Need from;
  Spelt file;  // A pattern: {name} and {index} stand for an item's.
};

struct Workflow {
  std::string name;                      // May be empty.
  std::optional<std::uint32_t> workers;  // Of each group; 1 to kMaxWorkers. Default: the CPUs.
  std::vector<Function> functions;
  std::vector<Input> inputs;
  std::vector<Step> steps;
  std::vector<Output> outputs;
};

}  // namespace cwasi::workflow
