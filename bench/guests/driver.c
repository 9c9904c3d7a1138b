// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The caller in benchmarks: does one thing many times and gives back a checksum, so that answers
// are checked.

#include <string.h>

#include "cwasi.h"

enum op {
  SMALL,   // `count` calls with `bytes` from plain memory, 8 bytes back.
  MOVED,   // A new buffer, every word written, given; 8 bytes back. `count` times.
  COPIED,  // The same from a buffer that stays.
  TOUCH,   // Written and read here: no hand-over.
  GIVEN,   // A new buffer, only its first word written, given. `count` times.
  // As MOVED and GIVEN, right after a short call of the other function: in a worker of its own the
  // callee is awake then.
  MOVED_ROUSED,
  GIVEN_ROUSED,
  MOVED_FOR,  // As MOVED, in a buffer that is made for the callee.
};

struct request {
  uint32_t op;
  uint32_t count;
  uint32_t bytes;
  uint32_t seed;
};

static void write_words(uint64_t* words, uint32_t bytes, uint64_t seed) {
#pragma clang loop unroll_count(16)
  for (uint32_t i = 0; i < bytes / 8; ++i) words[i] = seed + i;
}
static uint64_t read_words(const uint64_t* words, uint32_t bytes) {
  uint64_t total = 0;
#pragma clang loop unroll_count(16)
  for (uint32_t i = 0; i < bytes / 8; ++i) total += words[i];
  return total;
}

CWASI_HANDLER(data, length) {
  struct request r;
  if (length != sizeof r) return 2;
  memcpy(&r, data, sizeof r);
  uint32_t sum = 0;
  uint32_t first = 0;
  if (cwasi_function_find("sum", 3, &sum) != CWASI_OK ||
      cwasi_function_find("first", 5, &first) != CWASI_OK)
    return 3;
  static uint8_t small[65536] __attribute__((aligned(16)));
  uint64_t total = 0;
  uint64_t answer = 0;
  void* buffer = NULL;
  if ((r.op == TOUCH || r.op == COPIED) && cwasi_buffer_new(r.bytes, &buffer) != CWASI_OK) return 4;
  for (uint32_t i = 0; i < r.count; ++i) {
    cwasi_reply reply = {&answer, sizeof answer, 0, 0, 0};
    int status = CWASI_OK;
    switch ((enum op)r.op) {
      case SMALL:
        *(uint64_t*)small = r.seed + i;
        status = cwasi_call(sum, small, r.bytes, 0, &reply);
        break;
      case MOVED:
      case MOVED_ROUSED:
        if (cwasi_buffer_new(r.bytes, &buffer) != CWASI_OK) return 4;
        write_words(buffer, r.bytes, r.seed + i);
        if (r.op == MOVED_ROUSED && cwasi_call(first, small, 8, 0, &reply) != CWASI_OK) return 6;
        status = cwasi_call(sum, buffer, r.bytes, CWASI_MOVE, &reply);
        break;
      case MOVED_FOR:
        if (cwasi_buffer_new_for(sum, r.bytes, &buffer) != CWASI_OK) return 4;
        write_words(buffer, r.bytes, r.seed + i);
        status = cwasi_call(sum, buffer, r.bytes, CWASI_MOVE, &reply);
        break;
      case COPIED:
        write_words(buffer, r.bytes, r.seed + i);
        status = cwasi_call(sum, buffer, r.bytes, 0, &reply);
        break;
      case TOUCH:
        write_words(buffer, r.bytes, r.seed + i);
        __asm__ volatile("" ::: "memory");
        answer = read_words(buffer, r.bytes);
        reply.length = 8;
        break;
      case GIVEN:
      case GIVEN_ROUSED:
        if (cwasi_buffer_new(r.bytes, &buffer) != CWASI_OK) return 4;
        *(uint64_t*)buffer = r.seed + i;
        if (r.op == GIVEN_ROUSED && cwasi_call(sum, small, 8, 0, &reply) != CWASI_OK) return 6;
        status = cwasi_call(first, buffer, r.bytes, CWASI_MOVE, &reply);
        break;
    }
    if (status != CWASI_OK || reply.length != 8) return 100 + status;
    total += answer;
  }
  if ((r.op == TOUCH || r.op == COPIED) && cwasi_buffer_free(buffer) != CWASI_OK) return 5;
  return cwasi_respond(&total, sizeof total, 0);
}
