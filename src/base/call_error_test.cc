// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "base/call_error.h"

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "test/support/paths.h"

namespace cwasi {
namespace {

std::vector<CallClass> AllClasses() {
  std::vector<CallClass> classes;
  for (std::uint32_t number = 0; number < 1000; ++number) {
    if (const auto call_class = CallClassFromNumber(number)) classes.push_back(*call_class);
  }
  return classes;
}

std::string RanColumn(CallClass call_class) {
  const auto ran = FixedMayHaveRun(call_class);
  if (!ran) return "either";
  return *ran ? "yes" : "no";
}

TEST(CallErrorTest, AgreesWithTheTableInTheGuestAbi) {
  std::ifstream file(test::SourceFolder() / "docs/protocols/guest-abi.md");
  ASSERT_TRUE(file.is_open());
  std::stringstream text;
  text << file.rdbuf();
  const std::string page = text.str();
  for (const CallClass call_class : AllClasses()) {
    const int number = static_cast<int>(call_class);
    const std::string start =
        "| " + std::to_string(number) + " | " + std::string(Name(call_class)) + " |";
    const auto at = page.find(start);
    ASSERT_NE(at, std::string::npos) << "no line starts with " << start;
    const std::string line = page.substr(at, page.find('\n', at) - at);
    const std::string end = "| " + RanColumn(call_class) + " |";
    EXPECT_TRUE(line.ends_with(end)) << line << " should end with " << end;
  }
}

TEST(CallErrorTest, HasNoClassOutsideOfTheTable) {
  EXPECT_FALSE(CallClassFromNumber(0)) << "0 is ok, not a failure";
  EXPECT_FALSE(CallClassFromNumber(14));
  EXPECT_FALSE(CallClassFromNumber(257)) << "must not be cut to eight bits";
  EXPECT_FALSE(CallModeFromNumber(4));
  EXPECT_FALSE(CallModeFromNumber(256));
}

TEST(CallErrorTest, GivesEachClassAndModeItsOwnName) {
  std::set<std::string_view> names;
  for (const CallClass call_class : AllClasses()) names.insert(Name(call_class));
  EXPECT_EQ(AllClasses().size(), 13U);
  EXPECT_EQ(names.size(), 13U);
  EXPECT_EQ(Name(CallMode::kNone), "none");
  EXPECT_EQ(Name(CallMode::kEmbedded), "embedded");
  EXPECT_EQ(Name(CallMode::kLocal), "local");
  EXPECT_EQ(Name(CallMode::kNetwork), "network");
}

TEST(CallErrorTest, NeverInvitesToRepeatACallThatMayHaveRun) {
  for (const CallClass call_class : AllClasses()) {
    if (ToErrorCode(call_class) == ErrorCode::kUnavailable) {
      EXPECT_EQ(FixedMayHaveRun(call_class), false) << Name(call_class);
    }
  }
  EXPECT_EQ(ToErrorCode(CallClass::kUnavailable), ErrorCode::kUnavailable);
  EXPECT_EQ(ToErrorCode(CallClass::kOutcomeUnknown), ErrorCode::kDeadlineExceeded);
}

TEST(CallErrorTest, DescribesClassModeAndWhetherTheCalleeRan) {
  EXPECT_EQ(Describe({.call_class = CallClass::kGuestError,
                      .mode = CallMode::kEmbedded,
                      .may_have_run = true,
                      .guest_status = 7,
                      .message = "not a JPEG",
                      .frames = {}}),
            "guest_error 7 (embedded, may have run): not a JPEG");
  EXPECT_EQ(Describe({.call_class = CallClass::kNotFound, .message = {}, .frames = {}}),
            "not_found (did not run)");
}

}  // namespace
}  // namespace cwasi
