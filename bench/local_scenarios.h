// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The parts of local_bench that have processes of their own shape. Each adds its rows.

#pragma once

#include "bench/local_worker.h"
#include "bench/report.h"

namespace cwasi::bench {

// The same payload by sockets, pipes, shared memory, Redis and HTTP.
void RunTransports(Zygote& zygote, Report& report, bool quick);
// Mixed sizes over 8 functions, received buffers passed on to a third, from cold.
void RunMixed(Zygote& zygote, Report& report, bool quick);
// A payload to each of 500 workers alive at once, and one back from each.
void RunFan(Zygote& zygote, Report& report, bool quick);
// One payload that 100 workers alive at once read, and write a byte of.
void RunBroadcast(Zygote& zygote, Report& report, bool quick);

}  // namespace cwasi::bench
