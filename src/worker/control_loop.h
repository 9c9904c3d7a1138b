// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of a worker process: does what the `cwasi` process asks over the control socket
// (docs/protocols/control.md) and keeps the values of the workflow between the calls.
//
// Thread: the guest thread.

#pragma once

#include "base/unique_fd.h"

namespace cwasi::worker {

// Serves until Shutdown (0), the end of the socket (0: cwasi has ended) or a broken protocol (1,
// with a line on stderr).
int ServeControl(UniqueFd socket);

}  // namespace cwasi::worker
