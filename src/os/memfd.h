// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Anonymous files of a fixed size.

#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::os {

// A memfd of `size_bytes`, sealed against shrinking and growing before anyone else can see it: a
// peer that truncates a shared file would otherwise end us with SIGBUS. CLOEXEC. `name` shows in
// /proc/PID/maps. Errors: kResourceExhausted (descriptors, memory).
Result<UniqueFd> CreateSealedMemfd(const std::string& name, std::size_t size_bytes);

}  // namespace cwasi::os
