#include "worker/executor/background_kernels.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace moai {
namespace {

// Waits until it may go on, and then writes down that it ran.
class GatedKernel final : public Kernel {
 public:
  GatedKernel(int number, std::vector<int>* ran) : number_(number), ran_(ran) {}
  void Run(const KernelArguments&) override {
    MutexLock lock(mutex_);
    while (!open_) changed_.Wait(mutex_);
    ran_->push_back(number_);
  }
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  const int number_;
  std::vector<int>* const ran_;
  Mutex mutex_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST(BackgroundKernelsTest, RunInOrderBesideTheCaller) {
  std::vector<int> ran;
  GatedKernel first(1, &ran), second(2, &ran), third(3, &ran);
  BackgroundKernels background;
  background.Start(&first, {});
  background.Start(&second, {});
  background.Start(&third, {});
  // The caller is here although none of them could run. The second waits for the first.
  second.Open();
  first.Open();
  background.AwaitAllBut(1);
  EXPECT_EQ(ran, (std::vector<int>{1, 2}));
  third.Open();
  background.AwaitAllBut(0);
  EXPECT_EQ(ran, (std::vector<int>{1, 2, 3}));
}

TEST(BackgroundKernelsTest, GoOnAfterARest) {
  std::vector<int> ran;
  BackgroundKernels background;
  background.AwaitAllBut(0);
  for (int i = 0; i < 100; ++i) {
    GatedKernel kernel(i, &ran);
    kernel.Open();
    background.Start(&kernel, {});
    background.AwaitAllBut(0);
  }
  EXPECT_EQ(ran.size(), 100);
}

TEST(BackgroundKernelsTest, EndAfterWhatWasStarted) {
  std::vector<int> ran;
  GatedKernel kernel(1, &ran);
  {
    BackgroundKernels background;
    background.Start(&kernel, {});
    kernel.Open();
  }
  EXPECT_EQ(ran.size(), 1);
}

}  // namespace
}  // namespace moai
