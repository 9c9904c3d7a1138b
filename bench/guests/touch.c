// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The touching of bench/guests/driver.c and test/guests/sum.c as functions, for payloads that come
// by other ways than cwasi's.

#include "cwasi.h"

__attribute__((export_name("write_words"))) void write_words(uint64_t* words, uint32_t bytes,
                                                             uint32_t seed) {
#pragma clang loop unroll_count(16)
  for (uint32_t i = 0; i < bytes / 8; ++i) words[i] = (uint64_t)seed + i;
}

__attribute__((export_name("read_words"))) uint64_t read_words(const uint64_t* words,
                                                               uint32_t bytes) {
  uint64_t total = 0;
#pragma clang loop unroll_count(16)
  for (uint32_t i = 0; i < bytes / 8; ++i) total += words[i];
  return total;
}
