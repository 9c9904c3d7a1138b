// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// cwasi-host: the zygote, and each worker that it forks. Started by `cwasi`, never by hand:
// descriptor 3 is the socket to it (docs/protocols/zygote.md).

#include <sys/socket.h>

#include <cstdio>
#include <exception>

#include "base/unique_fd.h"
#include "worker/zygote.h"

namespace {

constexpr int kZygoteFd = 3;

bool IsSocket(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

}  // namespace

int main() {
  if (!IsSocket(kZygoteFd)) {
    std::fputs("cwasi-host: descriptor 3 is no socket to cwasi; this program is started by cwasi\n",
               stderr);
    return 2;
  }
  int code = 1;
  try {
    code = cwasi::worker::ServeZygote(cwasi::UniqueFd(kZygoteFd));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cwasi-host: %s\n", error.what());
  }
  return code;
}
