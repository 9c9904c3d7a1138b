// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Does what the step's metadata `do` says; for tests of whole runs.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cwasi.h"

__attribute__((noinline)) static void trap_in_here(void) {
  __builtin_trap();
}
__attribute__((noinline)) static int recurse_in_here(volatile char* above, int depth) {
  volatile char frame[4096];
  frame[depth & 4095] = above[0];
  if (depth < 0) return 0;
  return recurse_in_here(frame, depth + 1) + frame[1];
}

// Calls w2 four times at once, each with the request; the answer is the last one's.
static int32_t spread(const void* request, uint32_t length) {
  enum { CALLS = 4 };
  uint32_t function = 0;
  uint32_t numbers[CALLS];
  int32_t status = cwasi_function_find("w2", 2, &function);
  for (int i = 0; i < CALLS && status == CWASI_OK; ++i)
    status = cwasi_call_start(function, request, length, 0, &numbers[i]);
  static uint8_t plain[16];
  cwasi_reply reply = {plain, sizeof plain, 0, 0, 0};
  for (int i = 0; i < CALLS && status == CWASI_OK; ++i) {
    uint32_t ended = 0;
    reply.data = plain;
    status = cwasi_call_wait(&numbers[i], 1, 0, &reply, &ended);
  }
  return status == CWASI_OK ? cwasi_respond(reply.data, reply.length, 0) : status;
}

CWASI_HANDLER(request, length) {
  char what[32] = {0};
  uint32_t what_length = 0;
  if (cwasi_metadata("do", 2, what, sizeof what - 1, &what_length) != CWASI_OK) return 90;
  if (strcmp(what, "echo") == 0) return cwasi_respond(request, length, CWASI_MOVE);
  if (strcmp(what, "work") == 0) {
    for (volatile int i = 0; i < 200 * 1000 * 1000; ++i) {
    }
    return cwasi_respond(request, length, CWASI_MOVE);
  }
  if (strcmp(what, "spread") == 0) return spread(request, length);
  if (strcmp(what, "trap") == 0) trap_in_here();
  if (strcmp(what, "exit") == 0) exit(3);
  if (strcmp(what, "fail") == 0) return 42;
  if (strcmp(what, "recurse") == 0) return recurse_in_here(what, 0);
  if (strcmp(what, "loop") == 0)
    for (volatile int i = 0;; ++i) {
    }
  if (strcmp(what, "grow") == 0) {
    while (__builtin_wasm_memory_grow(0, 16) != SIZE_MAX) {
    }
    return 0;
  }
  if (strcmp(what, "bulk") == 0) {
    const size_t size = (size_t)2000 << 20;
    char* memory = malloc(size);
    if (memory == NULL) return 91;
    for (int i = 0; i < 1000; ++i) {
      memset(memory, i, size);
      __asm__ volatile("" : : "r"(memory) : "memory");  // Somebody might look.
    }
    return 0;
  }
  if (strcmp(what, "print") == 0) {
    printf("printed by a guest\n");
    fflush(stdout);
    return 0;
  }
  if (strcmp(what, "large") == 0) {
    void* buffer = NULL;
    const int status = cwasi_buffer_new((1u << 30) + 1, &buffer);
    return status;
  }
  return 92;
}
