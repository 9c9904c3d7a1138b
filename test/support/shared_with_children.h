// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What the processes of a test or benchmark tell each other.

#pragma once

#include <sys/mman.h>

#include <new>

#include "base/check.h"

namespace cwasi::test {

// Memory that this process and its children see.
template <class T>
class SharedWithChildren {
 public:
  SharedWithChildren() {
    void* const page =
        ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    value_ = new (page) T;
  }
  SharedWithChildren(const SharedWithChildren&) = delete;
  SharedWithChildren& operator=(const SharedWithChildren&) = delete;
  SharedWithChildren(SharedWithChildren&&) = delete;
  SharedWithChildren& operator=(SharedWithChildren&&) = delete;
  ~SharedWithChildren() { ::munmap(value_, sizeof(T)); }
  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  T* value_;
};

}  // namespace cwasi::test
