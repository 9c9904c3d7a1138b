// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "buf/view_history.h"

#include <gtest/gtest.h>

namespace cwasi::buf {
namespace {

TEST(ViewHistoryTest, AnUnknownCalleeGetsAView) {
  ViewHistory history;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(history.Next(), ViewHistory::Choice::kView);
}

TEST(ViewHistoryTest, AReaderGetsViewsForEver) {
  ViewHistory history;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(history.Next(), ViewHistory::Choice::kView);
    history.Record(2560, 1);
  }
}

TEST(ViewHistoryTest, AWriterGetsCopiesAndNowAndThenAView) {
  ViewHistory history;
  history.Record(100, 80);
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t i = 0; i < ViewHistory::kRetryAfter; ++i)
      EXPECT_EQ(history.Next(), ViewHistory::Choice::kCopy);
    EXPECT_EQ(history.Next(), ViewHistory::Choice::kView);
    history.Record(100, 80);
  }
}

TEST(ViewHistoryTest, AWriterThatBecomesAReaderGetsViewsAgain) {
  ViewHistory history;
  history.Record(100, 30);
  int calls = 0;
  for (; history.WrittenShare() > ViewHistory::kMaxWrittenShare; ++calls) {
    ASSERT_LT(calls, 100);
    if (history.Next() == ViewHistory::Choice::kView) history.Record(100, 0);
  }
  EXPECT_EQ(history.Next(), ViewHistory::Choice::kView);
}

TEST(ViewHistoryTest, OneLargeWriteAmongManyReadsChangesNothing) {
  ViewHistory history;
  for (int i = 0; i < 10; ++i) history.Record(100, 0);
  history.Record(100, 100);
  EXPECT_EQ(history.Next(), ViewHistory::Choice::kView);
  history.Record(100, 100);
  EXPECT_EQ(history.Next(), ViewHistory::Choice::kCopy);
}

}  // namespace
}  // namespace cwasi::buf
