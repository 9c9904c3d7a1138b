// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One of many functions that differ in code and data: compiled with -DVARIANT=1, 2 and so on. Takes
// 8 bytes and answers with 8 that tell which variant has seen them.

#include "variant.h"

#include <string.h>

#include "cwasi.h"

#define W1(i) ((i) + 1ULL) * (0x9e3779b97f4a7c15ULL + 2ULL * VARIANT)
#define W4(i) W1(i), W1((i) + 1), W1((i) + 2), W1((i) + 3)
#define W16(i) W4(i), W4((i) + 4), W4((i) + 8), W4((i) + 12)
#define W64(i) W16(i), W16((i) + 16), W16((i) + 32), W16((i) + 48)
#define W256(i) W64(i), W64((i) + 64), W64((i) + 128), W64((i) + 192)

// volatile: or the compiler makes the words in code, where they are no data.
static const volatile uint64_t words[VARIANT_WORDS] = {W256(0), W256(256), W256(512), W256(768)};

CWASI_HANDLER(request, length) {
  uint64_t asked = 0;
  if (length != sizeof asked) return 1;
  memcpy(&asked, request, sizeof asked);
  uint64_t sum = VARIANT;
#pragma clang loop unroll_count(8 + VARIANT % 8)
  for (uint32_t i = 0; i < VARIANT_WORDS; ++i) sum = variant_mix(VARIANT, sum, words[i], asked);
  return cwasi_respond(&sum, sizeof sum, 0);
}
