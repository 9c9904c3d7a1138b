// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Where this build's files lie. In a translation unit of its own: it is the only one that knows the
// checkout's place, so that the compiler cache serves the others in any checkout.

#pragma once

#include <filesystem>

namespace cwasi::test {

std::filesystem::path SourceFolder();  // The checkout.
std::filesystem::path BinFolder();     // The programs of this build.
std::filesystem::path GuestFolder();   // NAME.wasm of this build.

}  // namespace cwasi::test
