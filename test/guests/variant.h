// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What function number VARIANT answers; for the guest and for who checks it.

// NOLINTBEGIN(readability-identifier-naming): C's names, as in a guest.
#ifndef CWASI_TEST_GUESTS_VARIANT_H_
#define CWASI_TEST_GUESTS_VARIANT_H_

#include <stdint.h>

#define VARIANT_WORDS 1024

static inline uint64_t variant_word(uint64_t variant, uint64_t i) {
  return (i + 1) * (0x9e3779b97f4a7c15ULL + 2 * variant);
}

static inline uint64_t variant_mix(uint64_t variant, uint64_t sum, uint64_t word,
                                   uint64_t request) {
  const uint64_t mixed = word ^ request;
  const uint64_t by = 1 + variant % 63;
  return (sum + (mixed << by | mixed >> (64 - by))) * (2 * variant + 1);
}

static inline uint64_t variant_answer(uint64_t variant, uint64_t request) {
  uint64_t sum = variant;
  for (uint64_t i = 0; i < VARIANT_WORDS; ++i)
    sum = variant_mix(variant, sum, variant_word(variant, i), request);
  return sum;
}

#endif  // CWASI_TEST_GUESTS_VARIANT_H_
// NOLINTEND(readability-identifier-naming)
