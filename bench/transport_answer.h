// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// How a taker tells its giver what it took; both ends are inherited by both.

#pragma once

#include "base/unique_fd.h"
#include "bench/transport.h"

namespace cwasi::bench {

class AnswerSocket {
 public:
  AnswerSocket();
  void Tell(const Taken& taken) const;
  // Ends the process at the end of the socket.
  Taken Hear() const;

 private:
  UniqueFd hears_;
  UniqueFd tells_;
};

}  // namespace cwasi::bench
