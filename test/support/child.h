// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// A second process for tests of what two processes do to each other.

#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace cwasi::test {

// Runs `body` in a child and gives its exit code; -1 if it ended otherwise. Descriptors are
// inherited, segments are not.
template <class Body>
int InChild(Body&& body) {
  const pid_t child = ::fork();
  if (child < 0) std::abort();
  if (child == 0) ::_exit(std::forward<Body>(body)());
  int status = 0;
  if (::waitpid(child, &status, 0) != child) std::abort();
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace cwasi::test
