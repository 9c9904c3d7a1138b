// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The edges of a run, each of which may have been used in several workers.

#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "ipc/control.h"

namespace cwasi::workflow {

class EdgeSum {
 public:
  // Of one more worker.
  void Add(const std::vector<ipc::EdgeReport>& edges);
  // By step that takes, in this order (calls between functions come last), then by what it takes
  // from, then by mode.
  [[nodiscard]] std::vector<ipc::EdgeReport> Sorted(
      const std::vector<std::string_view>& steps) const;

 private:
  using Name = std::tuple<std::string, std::string, CallMode>;
  std::map<Name, ipc::EdgeReport> edges_;
};

}  // namespace cwasi::workflow
