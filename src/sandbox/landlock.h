// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Landlock without a rule: no file can be opened, no TCP port bound or reached, nobody outside
// signalled or reached through an abstract socket, and no process outside traced or read. Each
// process that restricts itself is a domain of its own, so two workers cannot trace each other.
//
// Source: Documentation/userspace-api/landlock.rst, of Linux 6.12. Raw calls: Debian 12's headers
// know version 2.

#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::sandbox {

// 0: the kernel has none, or it is off. 6 and later also stop signals (Linux 6.12).
int LandlockVersion();
inline constexpr int kLandlockScopesSignals = 6;

// Everything that version `version` can deny. Errors: by errno.
Result<UniqueFd> CreateDenyAllRuleset(int version);

// The calling thread and its children, for good. Needs no_new_privs. Errors: by errno.
Result<> EnterRuleset(int ruleset);

}  // namespace cwasi::sandbox
