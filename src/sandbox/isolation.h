// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Takes the machine away from a process: own mount, network, IPC and host name namespaces,
// and a root that is empty and read-only. A zygote does it to itself once, and its workers inherit
// it for nothing (docs/adr/0005-worker-sandbox.md). They share these namespaces, in which there is
// nothing to share: no files, no interface that is up, and the filter forbids sockets and SysV IPC.
//
// Source: namespaces(7), user_namespaces(7), pivot_root(2).

#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::sandbox {

enum class IsolationKind : std::uint8_t {
  kNone,
  kUserNamespace,  // Without root, by a user namespace that holds only the own user.
  kRoot,
};

struct Isolation {
  IsolationKind kind = IsolationKind::kNone;
  // Whether children can be made in a pid namespace of their own.
  bool pid_namespaces = false;
  std::string why_not;  // Why not `kind`, or no pid namespaces.
  // The /proc of before, for what this process and its children look up about themselves.
  UniqueFd proc;
};

// What is not allowed here is left out, and `why_not` says it; each kind is tried in a child first,
// since a half-done isolation cannot be undone. The caller is the only thread of its process and
// has opened all files it needs. Errors: kInternal, what worked in the child failed here.
Result<Isolation> IsolateProcess();

}  // namespace cwasi::sandbox
