// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Gives back what it got, without a copy.

#include "cwasi.h"

CWASI_HANDLER(request, length) {
  return cwasi_respond(request, length, CWASI_MOVE);
}
