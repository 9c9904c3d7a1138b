// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// cwasi-host: a worker process. Started by `cwasi`, never by hand: descriptor 3 is its control
// socket.

#include <sys/socket.h>

#include <cstdio>
#include <exception>

#include "base/unique_fd.h"
#include "worker/control_loop.h"
#include "worker/worker.h"

namespace {

constexpr int kControlFd = 3;

bool IsSocket(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

}  // namespace

int main() {
  if (!IsSocket(kControlFd)) {
    std::fputs("cwasi-host: descriptor 3 is no control socket; this program is started by cwasi\n",
               stderr);
    return 2;
  }
  int code = 1;
  try {
    cwasi::worker::RunOnGuestThread(
        [&] { code = cwasi::worker::ServeControl(cwasi::UniqueFd(kControlFd)); });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cwasi-host: %s\n", error.what());
  }
  return code;
}
