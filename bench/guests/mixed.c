// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// One of the functions "0" to "7" of the mixed scenario. Asked by the benchmark it makes a payload,
// writes all of it and gives it to a function that passes it on to a third, which reads all of it.
// The answer is the sum of all words.

#include <string.h>

#include "cwasi.h"

struct order {
  uint32_t bytes;
  uint32_t seed;
  char by;  // The function in between, and the last.
  char to;
  char unused[6];
};

static int pass(char name, void* payload, uint32_t length) {
  uint64_t answer = 0;
  cwasi_reply reply = {&answer, sizeof answer, 0, 0, 0};
  uint32_t function = 0;
  if (cwasi_function_find(&name, 1, &function) != CWASI_OK) return 3;
  const int status = cwasi_call(function, payload, length, CWASI_MOVE, &reply);
  if (status != CWASI_OK || reply.length != sizeof answer) return 100 + status;
  return cwasi_respond(&answer, sizeof answer, 0);
}

CWASI_HANDLER(request, length) {
  if (length == sizeof(struct order)) {
    struct order order;
    memcpy(&order, request, sizeof order);
    void* buffer = NULL;
    if (cwasi_buffer_new(order.bytes, &buffer) != CWASI_OK) return 4;
    uint64_t* const words = buffer;
    words[0] = (uint64_t)(unsigned char)order.to;
    for (uint32_t i = 1; i < order.bytes / 8; ++i) words[i] = (uint64_t)order.seed + i;
    return pass(order.by, buffer, order.bytes);
  }
  uint64_t* const words = request;
  if (words[0] != 0) {
    const char to = (char)words[0];
    words[0] = 0;
    return pass(to, request, length);
  }
  uint64_t total = 0;
  for (uint32_t i = 0; i < length / 8; ++i) total += words[i];
  return cwasi_respond(&total, sizeof total, 0);
}
