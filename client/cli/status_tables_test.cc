// Byte for byte what people of this platform know.
#include "client/cli/status_tables.h"

#include "gtest/gtest.h"

namespace moai {
namespace {

constexpr uint64_t kMiB = 1 << 20;

proto::GetStatusReply Training() {
  proto::GetStatusReply status;
  status.set_server_version("24.5.0");
  proto::VirtualDeviceStatus* device = status.add_devices();
  device->set_flavor("xLarge.512GB");
  device->set_current(true);
  device->set_memory_bytes(524160 * kMiB);
  device->set_busy(true);
  device->set_memory_used_bytes(397 * kMiB);
  proto::JobStatus* job = status.add_jobs();
  job->set_job(976356);
  job->set_process_id(1548305);
  job->set_process_name("python tutorial/train_gpt.py");
  job->set_memory_used_bytes(397 * kMiB);
  return status;
}

TEST(StatusTablesTest, ShowARunningProgram) {
  EXPECT_EQ(DeviceTable(Training(), "24.5.0"), &R"(
+-----------------------------------------------------------------------------------------------------+
|                                                    Current Version: 24.5.0  Latest Version: 24.5.0  |
+-----------------------------------------------------------------------------------------------------+
|  Device  |        Name         |       Model      |  Memory Usage  |  Total Memory  |  Utilization  |
+=====================================================================================================+
|  * 0     |  MoAI Accelerator   |  xLarge.512GB    |    397 MiB     |  524160 MiB    |      0 %      |
+-----------------------------------------------------------------------------------------------------+
)"[1]);
  EXPECT_EQ(ProcessTable(Training()), &R"(
Processes:
+-----------------------------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |             Process            |  Memory Usage  |
+===================================================================================+
|       0  |  976356  |  1548305  |  python tutorial/train_gpt.py  |    397 MiB     |
+-----------------------------------------------------------------------------------+
)"[1]);
}

TEST(StatusTablesTest, ShowDashesWhereNothingRuns) {
  proto::GetStatusReply status;
  status.set_server_version("0.1");
  for (uint32_t id : {0, 2}) {
    proto::VirtualDeviceStatus* device = status.add_devices();
    device->set_device(id);
    device->set_flavor("Small.64GB");
    device->set_current(id == 2);
    device->set_memory_bytes(65536 * kMiB);
  }
  EXPECT_EQ(DeviceTable(status, "0.1"), &R"(
+-----------------------------------------------------------------------------------------------------+
|                                                          Current Version: 0.1  Latest Version: 0.1  |
+-----------------------------------------------------------------------------------------------------+
|  Device  |        Name         |       Model      |  Memory Usage  |  Total Memory  |  Utilization  |
+=====================================================================================================+
|    0     |  MoAI Accelerator   |  Small.64GB      |       -        |  65536 MiB     |       -       |
|  * 2     |  MoAI Accelerator   |  Small.64GB      |       -        |  65536 MiB     |       -       |
+-----------------------------------------------------------------------------------------------------+
)"[1]);
  EXPECT_EQ(ProcessTable(status), &R"(
Processes:
+--------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |  Process  |  Memory Usage  |
+==============================================================+
|       -  |       -  |        -  |  -        |       -        |
+--------------------------------------------------------------+
)"[1]);
}

TEST(StatusTablesTest, WidenColumns) {
  proto::GetStatusReply status = Training();
  status.mutable_devices(0)->set_flavor("48xLarge.24576GB");
  status.mutable_devices(0)->set_memory_bytes(25159680 * kMiB);
  status.mutable_devices(0)->set_utilization(0.976);
  status.mutable_jobs(0)->set_process_name("python 학습.py\n");
  status.mutable_jobs(0)->set_memory_used_bytes(1);
  EXPECT_EQ(DeviceTable(status, "24.5.0"), &R"(
+-------------------------------------------------------------------------------------------------------+
|                                                      Current Version: 24.5.0  Latest Version: 24.5.0  |
+-------------------------------------------------------------------------------------------------------+
|  Device  |        Name         |        Model       |  Memory Usage  |  Total Memory  |  Utilization  |
+=======================================================================================================+
|  * 0     |  MoAI Accelerator   |  48xLarge.24576GB  |    397 MiB     |  25159680 MiB  |     98 %      |
+-------------------------------------------------------------------------------------------------------+
)"[1]);
  EXPECT_EQ(ProcessTable(status), &R"(
Processes:
+--------------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |     Process     |  Memory Usage  |
+====================================================================+
|       0  |  976356  |  1548305  |  python 학습.py?  |     1 MiB      |
+--------------------------------------------------------------------+
)"[1]);
}

TEST(StatusTablesTest, ShowPhysicalDevices) {
  proto::GetStatusReply status;
  for (uint32_t index : {0, 1}) {
    proto::PhysicalDeviceStatus* device = status.add_physical_devices();
    device->set_worker("node1");
    device->set_index(index);
    device->set_memory_bytes(4096 * kMiB);
    device->set_busy(index == 1);
    device->set_memory_used_bytes(1024 * kMiB);
    device->set_utilization(1);
  }
  EXPECT_EQ(PhysicalTable(status), &R"(
+------------------------------------------------------------------------------------------------+
|  Dev  |  Location  |  Dev Temp  |  Mem Temp  |  Dev Util  |  Mem Util  |       Mem Usage       |
+================================================================================================+
|    0  |  node1:0   |     -      |     -      |     -      |     -      |     - / 4096 MiB      |
|    1  |  node1:1   |     -      |     -      |   100 %    |    25 %    |  1024 MiB / 4096 MiB  |
+------------------------------------------------------------------------------------------------+
)"[1]);
}

}  // namespace
}  // namespace moai
