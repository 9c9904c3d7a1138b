// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Budget: how much of something a worker may hold. Whoever needs more is told so before anything
// has happened.

#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/check.h"

namespace cwasi::buf {

// Counts what is held of a bounded resource. Thread: the worker's guest thread.
class Budget {
 public:
  explicit Budget(std::size_t limit) : limit_(limit) {}

  [[nodiscard]] bool TryReserve(std::size_t amount) {
    if (amount > limit_ - used_) return false;
    used_ += amount;
    peak_ = std::max(peak_, used_);
    return true;
  }
  void Release(std::size_t amount) {
    CHECK(amount <= used_);
    used_ -= amount;
  }
  [[nodiscard]] std::size_t Used() const { return used_; }
  [[nodiscard]] std::size_t Peak() const { return peak_; }
  [[nodiscard]] std::size_t Limit() const { return limit_; }

 private:
  std::size_t limit_;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

// A share of a budget, released with its owner. The budget outlives it.
class Reservation {
 public:
  Reservation() = default;
  // Empty if the budget refuses.
  static Reservation Try(Budget& budget, std::size_t amount) {
    Reservation share;
    if (budget.TryReserve(amount)) {
      share.budget_ = &budget;
      share.amount_ = amount;
    }
    return share;
  }
  Reservation(Reservation&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), amount_(std::exchange(other.amount_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    if (this != &other) {
      Release();
      budget_ = std::exchange(other.budget_, nullptr);
      amount_ = std::exchange(other.amount_, 0);
    }
    return *this;
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() { Release(); }

  [[nodiscard]] bool Held() const { return budget_ != nullptr; }
  // Takes `more` on top. False, and unchanged, if the budget refuses.
  [[nodiscard]] bool TryExtend(std::size_t more) {
    if (budget_ == nullptr || !budget_->TryReserve(more)) return false;
    amount_ += more;
    return true;
  }

 private:
  void Release() {
    if (budget_ != nullptr) std::exchange(budget_, nullptr)->Release(amount_);
  }
  Budget* budget_ = nullptr;
  std::size_t amount_ = 0;
};

// Half of what the kernel allows a process to map (vm.max_map_count; 65530 if it cannot be read):
// design 1, rule 3. The rest is for the engine, libraries and the splitting of neighbours.
std::size_t MappingLimit();

}  // namespace cwasi::buf
