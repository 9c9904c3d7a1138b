// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Does what its request says, step by step, so that tests can make a guest do anything right or
// wrong. The request is an array of struct step (test/support/script.h writes it); the reply is
// what each step gave, a u32 each, unless a step responded itself.

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CWASI_OWN_REALLOC
#include "cwasi.h"

enum op {
  OP_FIND,
  OP_CALL,
  OP_NEW,
  OP_FREE,
  OP_RETAIN,
  OP_RESPOND,
  OP_PART_COUNT,
  OP_PART_TAKE,
  OP_METADATA,
  OP_DEADLINE,
  OP_LOAD,
  OP_STORE,
  OP_FILL,
  OP_CHECK,
  OP_ALL_ZERO,
  OP_MALLOC,
  OP_OWN_FREE,
  OP_GROW,
  OP_TRAP,
  OP_EXIT,
  OP_LOOP,
  OP_RECURSE,
  OP_BULK_FILL,
  OP_ALLOCATOR,
  OP_RETURN,
  OP_TEXT,
  OP_GROW_FOR_EVER,
  OP_COUNT,
  OP_REQUEST,
  OP_PRINT,
  OP_START,
  OP_WAIT,
  OP_NEW_FOR,
};
// How an argument is meant.
enum kind { LITERAL, RESULT, SCRATCH };

struct step {
  uint32_t op;
  uint32_t kinds;  // Two bits an argument.
  uint32_t args[5];
};

enum { MAX_STEPS = 512, SCRATCH_BYTES = 65536 };
static struct step steps[MAX_STEPS];
static uint32_t results[MAX_STEPS];
static uint8_t scratch[SCRATCH_BYTES] __attribute__((aligned(16)));
static uint32_t counter;  // Survives from call to call in a reused instance.

// ---- an allocator that can misbehave ----
enum {
  ALLOC_HONEST,
  ALLOC_UNALIGNED,
  ALLOC_NULL,
  ALLOC_OUTSIDE,
  ALLOC_STACK,
  ALLOC_LIVE,
  ALLOC_PARTLY_OUTSIDE,
  ALLOC_LOOP,
  ALLOC_TRAP,
  ALLOC_CALLS_BACK,
  ALLOC_EXIT
};
static uint32_t allocator;
static uint32_t last_arena;
static uint32_t called_back;

static uint32_t grow_arena(uint32_t bytes) {
  static void* volatile first;
  if (first == NULL) first = malloc(16);
  const uint32_t unit = 2u << 20;
  const uint64_t now = (uint64_t)__builtin_wasm_memory_size(0) * 65536;
  const uint64_t start = (now + unit - 1) / unit * unit;
  const uint64_t end = start + bytes;
  if (end > (uint64_t)4 << 30) return 0;
  if (__builtin_wasm_memory_grow(0, (size_t)((end - now + 65535) / 65536)) == SIZE_MAX) return 0;
  return (uint32_t)start;
}

__attribute__((export_name("cabi_realloc"))) void* cabi_realloc(void* old, size_t old_length,
                                                                size_t align, size_t length) {
  (void)old_length;
  (void)align;
  if (old != NULL) __builtin_trap();
  uint32_t at;
  switch (allocator) {
    case ALLOC_UNALIGNED:
      at = grow_arena(length) + 65536;
      break;
    case ALLOC_NULL:
      at = 0;
      break;
    case ALLOC_OUTSIDE:
      at = 0xf0000000u;
      break;
    case ALLOC_STACK:
      at = 0x0u + (1u << 19);
      break;
    case ALLOC_LIVE:
      at = last_arena;
      break;
    case ALLOC_PARTLY_OUTSIDE:
      at = grow_arena(2u << 20);
      break;
    case ALLOC_LOOP:
      for (volatile uint32_t i = 0;; ++i) {
      }
    case ALLOC_TRAP:
      __builtin_trap();
    case ALLOC_CALLS_BACK: {
      void* buffer = NULL;
      uint32_t function = 0;
      cwasi_reply reply = {scratch, 64, 0, 0, 0};
      called_back = (uint32_t)cwasi_buffer_new(100, &buffer) * 10000 +
                    (uint32_t)cwasi_respond(scratch, 1, 0) * 1000 +
                    (uint32_t)cwasi_function_find("script", 6, &function) * 100 +
                    (uint32_t)cwasi_call(0, scratch, 1, 0, &reply) * 10 +
                    (uint32_t)cwasi_buffer_free((void*)last_arena);
      at = grow_arena(length);
      break;
    }
    case ALLOC_EXIT:
      exit(9);
    default:
      at = grow_arena(length);
      break;
  }
  if (allocator == ALLOC_HONEST) last_arena = at;
  return (void*)at;
}

static uint8_t pattern(uint32_t i, uint32_t seed) {
  return (uint8_t)(seed + i * 7 + (i >> 12));
}

static uint32_t recurse(volatile uint8_t* above, uint32_t depth) {
  volatile uint8_t frame[1024];
  frame[depth % 1024] = above[depth % 7];
  if (depth == UINT32_MAX) return 0;
  return recurse(frame, depth + 1) + frame[3];
}

static uint32_t run(const struct step* s, const uint32_t* a, void* request, uint32_t length) {
  void* p = (void*)a[0];
  switch ((enum op)s->op) {
    case OP_FIND:
      return (uint32_t)cwasi_function_find(p, a[1], (void*)a[2]);
    case OP_CALL:
      return (uint32_t)cwasi_call(a[0], (void*)a[1], a[2], a[3], (void*)a[4]);
    case OP_NEW:
      return (uint32_t)cwasi_buffer_new(a[0], (void*)a[1]);
    case OP_NEW_FOR:
      return (uint32_t)cwasi_buffer_new_for(a[0], a[1], (void*)a[2]);
    case OP_FREE:
      return (uint32_t)cwasi_buffer_free(p);
    case OP_RETAIN:
      return (uint32_t)cwasi_buffer_retain(p);
    case OP_RESPOND:
      return (uint32_t)cwasi_respond(p, a[1], a[2]);
    case OP_PART_COUNT:
      return cwasi_part_count();
    case OP_PART_TAKE:
      return (uint32_t)cwasi_part_take(a[0], (void*)a[1]);
    case OP_METADATA:
      return (uint32_t)cwasi_metadata(p, a[1], (void*)a[2], a[3], (void*)a[4]);
    case OP_DEADLINE:
      return (uint32_t)(cwasi_deadline() / 1000000);
    case OP_LOAD:
      return *(volatile uint32_t*)p;
    case OP_STORE:
      *(volatile uint32_t*)p = a[1];
      return 0;
    case OP_FILL:
      for (uint32_t i = 0; i < a[1]; ++i) ((uint8_t*)p)[i] = pattern(i, a[2]);
      return 0;
    case OP_CHECK:
      for (uint32_t i = 0; i < a[1]; ++i)
        if (((uint8_t*)p)[i] != pattern(i, a[2])) return 0;
      return 1;
    case OP_ALL_ZERO:
      for (uint32_t i = 0; i < a[1]; ++i)
        if (((uint8_t*)p)[i] != 0) return 0;
      return 1;
    case OP_MALLOC:
      return (uint32_t)malloc(a[0]);
    case OP_OWN_FREE:
      free(p);
      return (uint32_t)malloc(64);
    case OP_GROW:
      return (uint32_t)__builtin_wasm_memory_grow(0, a[0]);
    case OP_TRAP:
      __builtin_trap();
    case OP_EXIT:
      exit((int)a[0]);
    case OP_LOOP:
      for (volatile uint32_t i = 0;; ++i) {
      }
    case OP_RECURSE:
      return recurse(scratch, 0);
    case OP_BULK_FILL:
      memset(p, 1, a[1]);
      return 0;
    case OP_ALLOCATOR:
      allocator = a[0];
      return called_back;
    case OP_RETURN:
      return 0;
    case OP_TEXT:
      memcpy(p, &a[1], 4);
      return 0;
    case OP_GROW_FOR_EVER: {
      uint32_t pages = 0;
      while (__builtin_wasm_memory_grow(0, 16) != SIZE_MAX) pages += 16;
      return pages;
    }
    case OP_COUNT:
      return ++counter;
    case OP_REQUEST:
      return a[0] == 0 ? (uint32_t)request : length;
    case OP_PRINT:
      return (uint32_t)write(1, p, a[1]);
    case OP_START:
      return (uint32_t)cwasi_call_start(a[0], (void*)a[1], a[2], a[3], (void*)a[4]);
    case OP_WAIT:
      return (uint32_t)cwasi_call_wait((void*)a[0], a[1], a[2], (void*)a[3], (void*)a[4]);
  }
  return 0xdeadu;
}

CWASI_HANDLER(request, length) {
  const uint32_t count = length / sizeof(struct step);
  if (count > MAX_STEPS) return 77;
  memcpy(steps, request, count * sizeof(struct step));
  memset(scratch, 0, sizeof scratch);
  for (uint32_t i = 0; i < count; ++i) {
    const struct step* s = &steps[i];
    uint32_t a[5];
    for (uint32_t k = 0; k < 5; ++k) {
      const uint32_t kind = s->kinds >> (2 * k) & 3;
      a[k] = kind == RESULT    ? results[s->args[k] % MAX_STEPS]
             : kind == SCRATCH ? (uint32_t)scratch + s->args[k]
                               : s->args[k];
    }
    if (s->op == OP_RETURN) return (int32_t)a[0];
    results[i] = run(s, a, request, length);
  }
  cwasi_respond(results, count * 4, 0);
  return 0;
}
