#include "scheduler/cost/published_table.h"

#include <gtest/gtest.h>

namespace moai {
namespace {

std::string Message(absl::string_view csv) {
  const auto rows = ParsePublishedTable(csv);
  if (rows.ok()) return "";
  EXPECT_EQ(rows.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(rows.status().message());
}

TEST(PublishedTableTest, ReadsRowsAsPublished) {
  const auto rows = ReadPublishedTable("scheduler/cost/testdata/published_sample.csv");
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 7u);
  const PublishedRow& mpt = (*rows)[0];
  EXPECT_EQ(mpt.line, 2);
  EXPECT_EQ(mpt.model, "MPT-70b");
  EXPECT_DOUBLE_EQ(*mpt.params_B, 64.8624);
  EXPECT_EQ(mpt.layers, 80);
  EXPECT_EQ(mpt.gpu, "H100");
  EXPECT_EQ(mpt.gpus, 512);
  EXPECT_EQ(mpt.nvlink_domain, 8);
  EXPECT_EQ(*mpt.nic_GBps_per_gpu, 50);
  EXPECT_EQ(mpt.cp, std::nullopt);
  EXPECT_EQ(mpt.zero_or_fsdp, "FSDP-FULL_SHARD");
  EXPECT_EQ(mpt.recompute, "full");
  EXPECT_EQ(*mpt.tokens_per_s_per_gpu, 1007);
  EXPECT_EQ(mpt.peak_mem_GB, std::nullopt);
  EXPECT_EQ(mpt.ExtraNumber("hfu_pct"), 55.0);
  EXPECT_EQ(mpt.ExtraNumber("section"), std::nullopt);  // words
  EXPECT_EQ(mpt.ExtraNumber("vp"), std::nullopt);
  EXPECT_EQ(mpt.extra.at("mp_mode"), "DEFAULT");
}

TEST(PublishedTableTest, ColumnsMayStandInAnyOrderAndFieldsBeQuoted) {
  const auto rows = ParsePublishedTable(
      "notes,gpus,gpu\r\n\"a, \"\"b\"\"\nand; vp=2\",8,A100\r\n\r\n,16,\"H100\"\r\n");
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].notes, "a, \"b\"\nand; vp=2");
  EXPECT_EQ((*rows)[0].ExtraNumber("vp"), 2);
  EXPECT_EQ((*rows)[1].gpu, "H100");
  EXPECT_EQ((*rows)[1].line, 5);
}

TEST(PublishedTableTest, ErrorsNameLineAndColumn) {
  EXPECT_EQ(Message("gpu,gpus\nA100,eight\n"),
            "line 2, column 'gpus': 'eight' is not a number of at least 0");
  EXPECT_EQ(Message("gpu,gpus\nA100,8\nA100,-8\n"),
            "line 3, column 'gpus': '-8' is not a number of at least 0");
  EXPECT_EQ(Message("gpu,gpus\nA100,1.5\n"), "line 2, column 'gpus': '1.5' is not a whole number");
  EXPECT_EQ(Message("gpu,gpus,speed\n"), "line 1: no column is named 'speed'");
  EXPECT_EQ(Message("gpu\nA100\n"), "line 1: the columns 'gpu' and 'gpus' must be there");
  EXPECT_EQ(Message("gpu,gpus\nA100\n"), "line 2: 1 fields, but 2 columns");
  EXPECT_EQ(Message("gpu,gpus\n\"A100,8\n"), "line 2, field 1: the quote does not end");
  EXPECT_EQ(Message("gpu,gpus\n\"A100\"x,8\n"), "line 2, field 1: text after the closing quote");
  EXPECT_EQ(Message(""), "the table is empty");
  EXPECT_EQ(ReadPublishedTable("/nowhere.csv").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace moai
