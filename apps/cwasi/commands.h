// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the command line's verbs do, once their arguments are parsed. Each returns the exit code.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cwasi::cli {

struct RunArguments {
  std::string workflow;
  std::string output_dir;
  std::string payload = "auto";
  std::uint64_t payload_budget = std::uint64_t{8} << 30;
  bool quiet = false;
};
int Run(const RunArguments& arguments);

struct CompileArguments {
  std::vector<std::string> modules;
  std::string output;
};
int Compile(const CompileArguments& arguments);

// Says what of cwasi works on this machine. 0: all that is needed does.
int Doctor();

}  // namespace cwasi::cli
