// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// cwasi for functions in C: the whole binding. docs/protocols/guest-abi.md says what each call
// does. Compile with the flags in sdk/cwasi.cfg:
//
//   clang-19 --config=sdk/cwasi.cfg -O2 echo.c -o echo.wasm
//
//   #include "cwasi.h"
//   CWASI_HANDLER(request, length) { return cwasi_respond(request, length, CWASI_MOVE); }
//
// A handler returns 0, or a number of its own that the caller sees as CWASI_GUEST_ERROR.
// Thread: a guest has one.

#ifndef CWASI_H_
#define CWASI_H_

#ifndef __wasm__
#error "functions are compiled with the flags in sdk/cwasi.cfg: clang-19 --config=.../cwasi.cfg"
#endif

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cwasi_status {
  CWASI_OK = 0,
  CWASI_NOT_FOUND = 1,
  CWASI_DENIED = 2,
  CWASI_INVALID = 3,
  CWASI_TOO_LARGE = 4,
  CWASI_OVERLOADED = 5,
  CWASI_TIMEOUT = 6,
  CWASI_CANCELLED = 7,
  CWASI_UNAVAILABLE = 8,
  CWASI_OUTCOME_UNKNOWN = 9,
  CWASI_GUEST_ERROR = 10,
  CWASI_GUEST_TRAP = 11,
  CWASI_OUT_OF_MEMORY = 12,
  CWASI_INTERNAL = 13,
} cwasi_status;

enum {
  CWASI_MOVE = 1,         // call, respond: the payload is a buffer and is given.
  CWASI_PLAIN_REPLY = 2,  // call: refuse a reply longer than the capacity.
};
// In the place of a function's number: who made the call under way.
#define CWASI_CALLER UINT32_MAX

enum {
  CWASI_REPLY_BUFFER = 1,              // reply.data is a buffer, now ours.
  CWASI_REPLY_MAY_HAVE_RUN = 1 << 16,  // The callee may have run; a moved request is gone.
};

typedef struct cwasi_part {
  void* data;
  uint32_t length;
} cwasi_part;

typedef struct cwasi_reply {
  void* data;            // In: where a plain reply may be written. Out: the reply.
  uint32_t capacity;     // In: bytes at data.
  uint32_t length;       // Out: bytes of the reply.
  uint32_t flags;        // Out: CWASI_REPLY_*.
  int32_t guest_status;  // Out: the callee's own number with CWASI_GUEST_ERROR.
} cwasi_reply;

#define CWASI_IMPORT(name) __attribute__((import_module("cwasi"), import_name(name)))

CWASI_IMPORT("function_find")
int32_t cwasi_function_find(const char* name, uint32_t name_length, uint32_t* function);
CWASI_IMPORT("call")
int32_t cwasi_call(uint32_t function, const void* request, uint32_t length, uint32_t flags,
                   cwasi_reply* reply);
// Starts a call and goes on; flags 0 or CWASI_MOVE. A call that is not waited for is given up when
// the handler returns.
CWASI_IMPORT("call_start")
int32_t cwasi_call_start(uint32_t function, const void* request, uint32_t length, uint32_t flags,
                         uint32_t* call);
// Waits until one of these calls has ended and gives its status, its reply and which one it was.
// flags 0 or CWASI_PLAIN_REPLY.
CWASI_IMPORT("call_wait")
int32_t cwasi_call_wait(const uint32_t* calls, uint32_t count, uint32_t flags, cwasi_reply* reply,
                        uint32_t* ended);
CWASI_IMPORT("buffer_new") int32_t cwasi_buffer_new(uint32_t length, void** buffer);
// As cwasi_buffer_new, for a request to `function`, or for the reply if that is CWASI_CALLER:
// across trust domains giving it costs one copy instead of two. The taker may see what is in it
// from the first time on that it is given.
CWASI_IMPORT("buffer_new_for")
int32_t cwasi_buffer_new_for(uint32_t function, uint32_t length, void** buffer);
CWASI_IMPORT("buffer_free") int32_t cwasi_buffer_free(void* buffer);
CWASI_IMPORT("buffer_retain") int32_t cwasi_buffer_retain(void* buffer);
CWASI_IMPORT("respond") int32_t cwasi_respond(const void* data, uint32_t length, uint32_t flags);
CWASI_IMPORT("part_count") uint32_t cwasi_part_count(void);
CWASI_IMPORT("part_take") int32_t cwasi_part_take(uint32_t index, cwasi_part* part);
CWASI_IMPORT("metadata")
int32_t cwasi_metadata(const char* key, uint32_t key_length, char* value, uint32_t capacity,
                       uint32_t* length);
CWASI_IMPORT("deadline") int64_t cwasi_deadline(void);

// Defines the function's handler: CWASI_HANDLER(request, length) { ... return 0; }
#define CWASI_HANDLER(request, length) \
  __attribute__((export_name("cwasi_handle"))) int32_t cwasi_handle(void* request, uint32_t length)

// How the host gets memory. An arena (aligned to 2 MiB) is taken by growing the memory, after a
// first malloc: wasi-libc's aligned_alloc would take twice the address space, and its first malloc
// claims everything up to the memory's size. Define CWASI_OWN_REALLOC to bring your own.
#ifndef CWASI_OWN_REALLOC
__attribute__((weak, export_name("cabi_realloc"))) void* cabi_realloc(void* old, size_t old_length,
                                                                      size_t align, size_t length) {
  (void)old_length;
  const size_t unit = (size_t)2 << 20;
  if (old != NULL) return realloc(old, length);
  if (align < unit) return aligned_alloc(align < 16 ? 16 : align, (length + 15) & ~(size_t)15);
  static void* volatile first;  // volatile: a compiler may leave out a malloc nobody looks at.
  if (first == NULL) first = malloc(16);
  const size_t page = 65536;
  const uint64_t now = (uint64_t)__builtin_wasm_memory_size(0) * page;
  const uint64_t start = (now + align - 1) / align * align;
  const uint64_t end = start + length;
  if (end > (uint64_t)4 << 30) return NULL;
  if (__builtin_wasm_memory_grow(0, (size_t)((end - now + page - 1) / page)) == SIZE_MAX)
    return NULL;
  return (void*)(size_t)start;
}

#endif  // CWASI_OWN_REALLOC

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // CWASI_H_
