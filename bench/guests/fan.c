// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Gives a payload of its own to each of the functions "0" to "count - 1" and holds all that they
// give back; the answer is the sum of all words. As one of them: adds one to each word.

#include <string.h>

#include "cwasi.h"

enum { MOST = 128 };

struct order {
  uint32_t count;
  uint32_t bytes;
};

static uint32_t number_name(uint32_t number, char* name) {
  uint32_t length = 0;
  for (uint32_t rest = number; length == 0 || rest != 0; rest /= 10) ++length;
  for (uint32_t i = length; i-- > 0; number /= 10) name[i] = (char)('0' + number % 10);
  return length;
}

CWASI_HANDLER(request, length) {
  if (length != sizeof(struct order)) {
    uint64_t* const words = request;
    for (uint32_t i = 0; i < length / 8; ++i) ++words[i];
    return cwasi_respond(request, length, CWASI_MOVE);
  }
  struct order order;
  memcpy(&order, request, sizeof order);
  static cwasi_reply replies[MOST];
  if (order.count > MOST) return 2;
  for (uint32_t n = 0; n < order.count; ++n) {
    char name[12];
    uint32_t function = 0;
    if (cwasi_function_find(name, number_name(n, name), &function) != CWASI_OK) return 3;
    void* buffer = NULL;
    if (cwasi_buffer_new(order.bytes, &buffer) != CWASI_OK) return 4;
    uint64_t* const words = buffer;
    for (uint32_t i = 0; i < order.bytes / 8; ++i) words[i] = n;
    replies[n] = (cwasi_reply){NULL, 0, 0, 0, 0};
    const int status = cwasi_call(function, buffer, order.bytes, CWASI_MOVE, &replies[n]);
    if (status != CWASI_OK || replies[n].length != order.bytes) return 100 + status;
  }
  uint64_t total = 0;
  for (uint32_t n = 0; n < order.count; ++n) {
    const uint64_t* const words = replies[n].data;
    for (uint32_t i = 0; i < order.bytes / 8; ++i) total += words[i];
    if (cwasi_buffer_free(replies[n].data) != CWASI_OK) return 5;
  }
  return cwasi_respond(&total, sizeof total, 0);
}
