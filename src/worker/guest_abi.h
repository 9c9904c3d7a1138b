// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The import module `cwasi`, version 1: docs/protocols/guest-abi.md. Checks what a guest passes and
// hands it to the worker; a guest's numbers go no further than this file unchecked.

#pragma once

#include <span>

#include "wasm/engine.h"

namespace cwasi::worker {

// Valid for ever. The context of the host functions is a wasi::Guest* that is an Instance.
std::span<const wasm::HostImport> GuestAbiImports();

}  // namespace cwasi::worker
