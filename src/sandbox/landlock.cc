// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "sandbox/landlock.h"

#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "sandbox/failure.h"

namespace cwasi::sandbox {
namespace {

// struct landlock_ruleset_attr of version 6; earlier kernels take its beginning.
struct RulesetAttributes {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};

constexpr std::uint64_t LowBits(unsigned count) {
  return (std::uint64_t{1} << count) - 1;
}

}  // namespace

int LandlockVersion() {
  const long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? static_cast<int>(version) : 0;
}

Result<UniqueFd> CreateDenyAllRuleset(int version) {
  RulesetAttributes attributes{
      .handled_access_fs = LowBits(13), .handled_access_net = 0, .scoped = 0};
  std::size_t bytes = sizeof attributes.handled_access_fs;
  if (version >= 2) attributes.handled_access_fs = LowBits(14);  // REFER
  if (version >= 3) attributes.handled_access_fs = LowBits(15);  // TRUNCATE
  if (version >= 5) attributes.handled_access_fs = LowBits(16);  // IOCTL_DEV
  if (version >= 4) {
    attributes.handled_access_net = LowBits(2);  // BIND_TCP, CONNECT_TCP
    bytes = offsetof(RulesetAttributes, scoped);
  }
  if (version >= kLandlockScopesSignals) {
    attributes.scoped = LowBits(2);  // ABSTRACT_UNIX_SOCKET, SIGNAL
    bytes = sizeof attributes;
  }
  UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, bytes, 0)));
  if (!ruleset.IsOpen()) return FailErrno("create a Landlock ruleset");
  return ruleset;
}

Result<> EnterRuleset(int ruleset) {
  if (::syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
    return FailErrno("enter the Landlock ruleset");
  return {};
}

}  // namespace cwasi::sandbox
