// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Reads every byte: the sum of the request's 64-bit words, as 8 bytes. Also holds the callers that
// benchmarks drive: exported functions that call `sum` themselves.

#include "cwasi.h"

static uint64_t sum(const uint64_t* words, uint32_t count) {
  uint64_t total = 0;
#pragma clang loop unroll_count(16)
  for (uint32_t i = 0; i < count; ++i) total += words[i];
  return total;
}

CWASI_HANDLER(request, length) {
  const uint64_t total = sum(request, length / 8);
  return cwasi_respond(&total, sizeof total, 0);
}
