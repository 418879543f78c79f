#include "client/io/safetensors.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

std::string PathOf(const std::string& name) {
  return absl::StrCat(::testing::TempDir(), "/", name);
}

void WriteRaw(const std::string& path, uint64_t length, const std::string& header,
              const std::string& data) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << header << data;
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  std::mt19937_64 random(1);
  const std::string path = PathOf("round_trip.safetensors");
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (Dtype dtype : kAllDtypes) {
    tensors.push_back({absl::StrCat("layer.", Name(dtype)), {dtype, {3, 5}}});
  }
  tensors.push_back({"empty", {Dtype::kF32, {0, 4}}});
  tensors.push_back({"number", {Dtype::kF64, {}}});
  std::vector<std::vector<std::byte>> contents;
  {
    auto writer = SafetensorsWriter::Create(path, tensors, {{"format", "pt"}});
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (size_t i = 0; i < tensors.size(); ++i) {
      absl::Span<std::byte> destination = writer->destination(i);
      ASSERT_EQ(destination.size(), static_cast<size_t>(tensors[i].type.bytes()));
      for (std::byte& byte : destination) byte = static_cast<std::byte>(random());
      contents.emplace_back(destination.begin(), destination.end());
    }
    ASSERT_TRUE(writer->Finish().ok());
  }
  auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata().at("format"), "pt");
  ASSERT_EQ(file->entries().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const SafetensorsEntry& entry = file->entries().at(tensors[i].name);
    EXPECT_EQ(entry.type, tensors[i].type);
    const absl::Span<const std::byte> bytes = file->bytes(entry);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), contents[i].begin(), contents[i].end()));
  }
}

TEST(Safetensors, AnUnfinishedFileLeavesTheOldOneAlone) {
  const std::string path = PathOf("unfinished.safetensors");
  WriteRaw(path, 2, "{}", "");
  {
    auto writer = SafetensorsWriter::Create(path, {{"a", {Dtype::kU8, {4}}}});
    ASSERT_TRUE(writer.ok()) << writer.status();
  }
  auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->entries().empty());
  EXPECT_FALSE(std::ifstream(path + ".partial").good());
}

struct BadHeader {
  std::string header;
  size_t data_bytes;
  std::string complaint;
};

TEST(Safetensors, SaysWhatIsWrongWithAHeader) {
  const std::string good = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const BadHeader cases[] = {
      {"[]", 0, "no JSON object"},
      {"{", 0, "no JSON object"},
      {absl::StrCat("{", good, "}"), 12, "cover 8 bytes"},
      {absl::StrCat("{", good, ",", good, "}"), 8, "twice"},
      {absl::StrCat("{", good, R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"), 8,
       "share their bytes"},
      {absl::StrCat("{", good, R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[9,11]}})"), 11,
       "ends at 8"},
      {R"({"a":{"dtype":"F8","shape":[8],"data_offsets":[0,8]}})", 8, "F8"},
      {R"({"a":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}})", 8, "extent"},
      {R"({"a":{"dtype":"U8","shape":[1e3],"data_offsets":[0,8]}})", 8, "extent"},
      {R"({"a":{"dtype":"U8","shape":[17592186044416,17592186044416],"data_offsets":[0,8]}})", 8,
       "more than"},
      {R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1, "at most"},
      {R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 8, "8 bytes of data"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[8,0]}})", 8, "[8, 0)"},
      {R"({"a":{"dtype":"F32","shape":[8],"data_offsets":[0,8]}})", 8, "takes 32"},
      {R"({"a":{"dtype":"U8","shape":[8]}})", 8, "exactly"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0]}})", 8, "two numbers"},
      {R"({"__metadata__":{"k":1}})", 0, "metadata"},
      {R"({"__metadata__":7})", 0, "not an object"},
  };
  for (const BadHeader& bad : cases) {
    const auto header = ParseSafetensorsHeader(bad.header, bad.data_bytes);
    ASSERT_FALSE(header.ok()) << bad.header;
    EXPECT_THAT(std::string(header.status().message()), HasSubstr(bad.complaint)) << bad.header;
  }
}

TEST(Safetensors, RefusesAHeaderLengthBeyondTheFile) {
  const std::string path = PathOf("long_header.safetensors");
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 40, ~uint64_t{0}}) {
    WriteRaw(path, length, "{}", "");
    EXPECT_FALSE(SafetensorsFile::Open(path).ok()) << length;
  }
  std::ofstream(path, std::ios::trunc) << "short";
  EXPECT_FALSE(SafetensorsFile::Open(path).ok());
  EXPECT_FALSE(SafetensorsFile::Open(PathOf("does_not_exist")).ok());
}

TEST(Safetensors, SurvivesMutatedHeaders) {
  const std::string seed =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}})";
  std::mt19937_64 random(7);
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string header = seed;
    for (uint64_t edits = random() % 3; edits > 0; --edits) {
      header[random() % header.size()] = static_cast<char>(random() % 96 + 32);
    }
    const auto parsed = ParseSafetensorsHeader(header, 26);
    if (!parsed.ok()) continue;
    ++accepted;
    for (const auto& [name, entry] : parsed->entries) {
      ASSERT_LE(entry.end, 26u);
      ASSERT_EQ(entry.end - entry.begin, static_cast<size_t>(entry.type.bytes()));
    }
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace moai
