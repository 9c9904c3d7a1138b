// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What test/testdata/imports.wat imports, for whoever provides the functions.

#pragma once

#include <vector>

#include "wasm/engine.h"

namespace cwasi::wasm {

struct EnvFunctions {
  HostFunction twice;
  HostFunction mix;
  HostFunction leave;
  HostFunction enter;
};

inline std::vector<HostImport> EnvImports(const EnvFunctions& functions) {
  using enum ValueType;
  const FunctionType unary{.parameters = {kI32}, .results = {kI32}};
  return {{.module = "env", .name = "twice", .type = unary, .function = functions.twice},
          {.module = "env",
           .name = "mix",
           .type = {.parameters = {kI32, kI64, kF32, kF64}, .results = {kF64, kI64}},
           .function = functions.mix},
          {.module = "env",
           .name = "leave",
           .type = {.parameters = {kI32}, .results = {}},
           .function = functions.leave},
          {.module = "env", .name = "enter", .type = unary, .function = functions.enter}};
}

}  // namespace cwasi::wasm
