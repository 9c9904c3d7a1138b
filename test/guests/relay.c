// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Hands its request on as the request itself says: byte 0 counts the hops so far, the bytes from 1
// on are an action for each hop. What the caller has of the rest comes back unchanged.
//
//   1..9  call "w1".."w9" with the whole request, moved, and answer with what it answers
//   C1..9 as that, but copied; the answer is the request's first 16 bytes
//   e     answer with the request, moved      c  with its first 16 bytes, copied
//   n     no answer                           x  free the request, no answer
//   k     keep the request, no answer         g  answer with what was kept
//   t     trap      l  loop for ever          s  return 55
//   p     print "now" and go on with the next action
//   b     burn about a millisecond and go on with the next action

#include <string.h>
#include <unistd.h>

#include "cwasi.h"

static void* kept;
static uint32_t kept_length;
static uint8_t plain[16];

static int32_t forward(uint8_t* request, uint32_t length, char to, int copy) {
  const char name[2] = {'w', to};
  uint32_t function = 0;
  int32_t status = cwasi_function_find(name, 2, &function);
  if (status != CWASI_OK) return status;
  cwasi_reply reply = {plain, sizeof plain, 0, 0, 0};
  status = cwasi_call(function, request, length, copy ? 0 : CWASI_MOVE, &reply);
  if (status != CWASI_OK) return status;
  if (copy) {
    if (reply.flags & CWASI_REPLY_BUFFER) cwasi_buffer_free(reply.data);
    return cwasi_respond(request, length < 16 ? length : 16, 0);
  }
  return cwasi_respond(reply.data, reply.length,
                       (reply.flags & CWASI_REPLY_BUFFER) != 0 ? CWASI_MOVE : 0);
}

CWASI_HANDLER(data, length) {
  uint8_t* const request = data;
  if (length < 16) return 90;
  for (;;) {
    const uint8_t at = request[0]++;
    if (at > 12) return 91;
    const char action = (char)request[1 + at];
    switch (action) {
      case 'C':
        ++request[0];
        return forward(request, length, (char)request[2 + at], 1);
      case 'e':
        return cwasi_respond(request, length, CWASI_MOVE);
      case 'c':
        return cwasi_respond(request, 16, 0);
      case 'n':
        return 0;
      case 'x':
        return cwasi_buffer_free(request);
      case 'k':
        kept = request;
        kept_length = length;
        return cwasi_buffer_retain(request);
      case 'g':
        return cwasi_respond(kept, kept_length, CWASI_MOVE);
      case 't':
        __builtin_trap();
      case 'l':
        for (volatile uint32_t i = 0;; ++i) {
        }
      case 's':
        return 55;
      case 'p':
        write(1, "now\n", 4);
        break;
      case 'b':
        for (volatile uint32_t i = 0; i < 300000; ++i) {
        }
        break;
      default:
        return forward(request, length, action, 0);
    }
  }
}
