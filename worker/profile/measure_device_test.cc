#include "worker/profile/measure_device.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "worker/kernels/cpu/cpu_kernels.h"

namespace moai {
namespace {

DeviceProfileMeasurement Example() {
  DeviceProfileMeasurement m;
  m.processor = "a \"processor\"";
  m.threads = 3;
  m.matmuls = {{Dtype::kF32, 1, 64, 32, 16, 12.5}, {Dtype::kBF16, 8, 1, 2, 3, 0.5}};
  m.stream_gb_per_s = 30;
  m.kernel_microseconds = 0.5;
  m.vector_gflops = 4;
  m.attention_gflops = 50;
  m.attention_grad_gflops = 40;
  m.convolution_gflops = 30;
  m.convolution_grad_gflops = 20;
  return m;
}

// Short runs: the test is of what is there, not of how fast the machine is.
constexpr MeasureOptions kShort = {.seconds = 0.3};

// All figures, two runs each, however long that takes.
constexpr MeasureOptions kWhole = {.seconds = 600, .seconds_each = 0};

int g_kernels_made = 0;
absl::StatusOr<std::unique_ptr<Kernel>> CountingFactory(const Program& program, uint32_t index,
                                                        const DeviceShape& device) {
  ++g_kernels_made;
  return MakeCpuKernel(program, index, device);
}

TEST(MeasureDeviceTest, EveryRateIsThere) {
  const auto measured = MeasureDevice(MakeCpuKernel, {.threads = 1}, kShort);
  ASSERT_TRUE(measured.ok()) << measured.status();
  EXPECT_FALSE(measured->processor.empty());
  EXPECT_EQ(measured->threads, 1);
  ASSERT_FALSE(measured->matmuls.empty());
  EXPECT_EQ(measured->matmuls[0].dtype, Dtype::kF32);
  for (const MatmulMeasurement& m : measured->matmuls) EXPECT_GT(m.gflops, 0);
  EXPECT_GT(measured->stream_gb_per_s, 0);
  EXPECT_GT(measured->kernel_microseconds, 0);
  EXPECT_GT(measured->vector_gflops, 0);
  EXPECT_GT(measured->attention_gflops, 0);
  EXPECT_GT(measured->convolution_gflops, 0);
  EXPECT_GT(measured->convolution_grad_gflops, 0);
  EXPECT_GT(measured->attention_grad_gflops, 0);
  // What it measures of itself it can read back.
  EXPECT_EQ(DeviceProfileFromJson(ToJson(*measured)).value(), *measured);
}

absl::StatusOr<std::unique_ptr<Kernel>> NoMatmul(const Program& program, uint32_t index,
                                                 const DeviceShape& device) {
  const Instruction& instruction = program.instructions[index];
  if (instruction.op == Op::kMatmul && instruction.outputs[0].dtype == Dtype::kBF16) {
    return absl::UnimplementedError("no kernel");
  }
  return MakeCpuKernel(program, index, device);
}

TEST(MeasureDeviceTest, ADtypeWithoutKernelIsLeftOut) {
  const auto measured = MeasureDevice(NoMatmul, {.threads = 1}, kShort);
  ASSERT_TRUE(measured.ok()) << measured.status();
  for (const MatmulMeasurement& m : measured->matmuls) EXPECT_EQ(m.dtype, Dtype::kF32);
}

TEST(MeasureDeviceTest, WithoutKernelsThereIsAnError) {
  const KernelFactory none = [](const Program&, uint32_t,
                                const DeviceShape&) -> absl::StatusOr<std::unique_ptr<Kernel>> {
    return absl::UnimplementedError("no kernels here");
  };
  EXPECT_EQ(MeasureDevice(none, {.threads = 1}, kShort).status(),
            absl::UnimplementedError("no kernels here"));
}

TEST(ProfileFileTest, AMeasurementIsKept) {
  const std::string directory = testing::TempDir() + "/profiles/deep";
  std::filesystem::remove_all(directory);
  const auto first = LoadOrMeasureDevice(directory, CountingFactory, {.threads = 1}, kWhole);
  ASSERT_TRUE(first.ok()) << first.status();
  const int made = g_kernels_made;
  EXPECT_GT(made, 0);
  const auto second = LoadOrMeasureDevice(directory, CountingFactory, {.threads = 1}, kWhole);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(g_kernels_made, made);
  EXPECT_EQ(*second, *first);
  // Another number of threads is another device.
  ASSERT_TRUE(LoadOrMeasureDevice(directory, CountingFactory, {.threads = 2}, kWhole).ok());
  EXPECT_GT(g_kernels_made, made);

  // A broken file is measured again and replaced.
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::ofstream(entry.path(), std::ios::trunc) << "{";
  }
  const int before = g_kernels_made;
  ASSERT_TRUE(LoadOrMeasureDevice(directory, CountingFactory, {.threads = 1}, kWhole).ok());
  EXPECT_GT(g_kernels_made, before);
  const int after = g_kernels_made;
  ASSERT_TRUE(LoadOrMeasureDevice(directory, CountingFactory, {.threads = 1}, kWhole).ok());
  EXPECT_EQ(g_kernels_made, after);
  std::filesystem::remove_all(directory);
  // What time did not suffice for is used, but not kept.
  const auto part = LoadOrMeasureDevice(directory, CountingFactory, {.threads = 1}, {.seconds = 0});
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_FALSE(part->complete);
  EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST(ProfileFileTest, ADirectoryThatCannotBeMadeCostsNothing) {
  EXPECT_TRUE(LoadOrMeasureDevice("/proc/none", MakeCpuKernel, {.threads = 1}, kShort).ok());
}

TEST(ProfileFileTest, JsonRoundTripAndWhatIsRefused) {
  EXPECT_EQ(DeviceProfileFromJson(ToJson(Example())).value(), Example());
  for (const char* text : {"", "[]", "{}", "{\"version\": 3}", "\xff"}) {
    EXPECT_FALSE(DeviceProfileFromJson(text).ok()) << text;
  }
  DeviceProfileMeasurement broken = Example();
  broken.stream_gb_per_s = 0;
  EXPECT_FALSE(DeviceProfileFromJson(ToJson(broken)).ok());
  broken = Example();
  broken.matmuls[1].gflops = -1;
  EXPECT_FALSE(DeviceProfileFromJson(ToJson(broken)).ok());
  broken = Example();
  broken.matmuls[0].k = 0;
  EXPECT_FALSE(DeviceProfileFromJson(ToJson(broken)).ok());
  std::string other = ToJson(Example());
  other.replace(other.find("\"version\": 3"), 12, "\"version\": 9");
  EXPECT_FALSE(DeviceProfileFromJson(other).ok());
}

}  // namespace
}  // namespace moai
