// Random graphs through the real client, server, worker and executor equal the reference
// interpreter.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/session/grpc_session.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/parity/random_program.h"
#include "tests/parity/tee_session.h"

namespace moai {
namespace {

constexpr int kDefaultGraphs = 1000;
// A program's tensors cross submissions; a new program begins with a new executor.
constexpr int kGraphsOfAProgram = 50;
constexpr uint64_t kSeed = 20240607;

int Graphs() {
  const char* text = std::getenv("MOAI_PARITY_GRAPHS");
  return text != nullptr ? std::max(1, std::atoi(text)) : kDefaultGraphs;
}

struct Totals {
  std::set<OpDtype> covered;
  int64_t steps = 0;
  int64_t structures = 0;
  int64_t nodes = 0;
  int64_t compared = 0;
  int64_t slots_created = 0;
  int64_t slots_replaced = 0;
  int64_t writes_through_views = 0;
  int64_t backward_passes = 0;
};

void RunProgram(const std::string& address, OpDeck& deck, uint64_t seed, int graphs,
                Totals& totals) {
  auto real = GrpcSession::Connect({.address = address});
  ASSERT_TRUE(real.ok()) << real.status();
  auto tee = std::make_shared<TeeSession>(*real);
  Accelerator accelerator = Accelerator::Attach(tee);
  ManualSeed(seed);
  {
    RandomProgram program(*tee, deck, seed);
    for (int i = 0; i < graphs; ++i) {
      const absl::Status status = program.RunGraph();
      ASSERT_TRUE(status.ok()) << "graph " << i << " of the program of seed " << seed << ": "
                               << status;
    }
    const absl::Status status = program.Finish();
    ASSERT_TRUE(status.ok()) << "the program of seed " << seed << ": " << status;
    totals.writes_through_views += program.writes_through_views();
    totals.backward_passes += program.backward_passes();
  }
  const absl::Status status = accelerator.Synchronize();
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE(tee->difference().ok()) << tee->difference();
  totals.covered.insert(tee->covered().begin(), tee->covered().end());
  totals.steps += tee->steps();
  totals.structures += static_cast<int64_t>(tee->stats().graphs_registered);
  totals.nodes += tee->nodes();
  totals.compared += tee->compared();
  totals.slots_created += tee->slots_created();
  totals.slots_replaced += tee->slots_replaced();
}

// One line an op: the dtypes that were compared, and in brackets those that never occurred.
int PrintCoverage(const std::set<OpDtype>& covered) {
  int missing = 0;
  for (const OpEntry& entry : ClientOps()) {
    std::string line(Name(entry.op));
    line.resize(std::max<size_t>(line.size(), 20), ' ');
    for (Dtype dtype : DtypesOf(entry.op)) {
      const bool there = covered.contains({entry.op, dtype});
      missing += there ? 0 : 1;
      absl::StrAppend(&line, there ? " " : " [", Name(dtype), there ? "" : "]");
    }
    std::printf("%s\n", line.c_str());
  }
  return missing;
}

TEST(RandomGraphsTest, EqualTheReferenceInterpreter) {
  // Two devices: that of the program before may still be on its way back.
  auto cluster = Cluster::Start({.devices = 2});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  OpDeck deck(kSeed);
  Totals totals;
  const int graphs = Graphs();
  for (int done = 0; done < graphs && !HasFailure(); done += kGraphsOfAProgram) {
    RunProgram((*cluster)->address(), deck, kSeed + done,
               std::min(kGraphsOfAProgram, graphs - done), totals);
  }
  const int missing = PrintCoverage(totals.covered);
  std::printf(
      "graphs=%ld structures=%ld nodes=%ld objects_compared=%ld slots_created=%ld "
      "slots_replaced=%ld writes_through_views=%ld backward_passes=%ld op_dtype_pairs=%zu "
      "missing=%d\n",
      totals.steps, totals.structures, totals.nodes, totals.compared, totals.slots_created,
      totals.slots_replaced, totals.writes_through_views, totals.backward_passes, deck.all().size(),
      missing);
  EXPECT_GE(totals.steps, graphs);
  EXPECT_EQ(missing, 0) << "ops or dtypes that never occurred, in brackets above";
  EXPECT_GT(totals.slots_created, 0);
  EXPECT_GT(totals.slots_replaced, 0);
  EXPECT_GT(totals.writes_through_views, 0);
  EXPECT_GT(totals.backward_passes, 0);
}

}  // namespace
}  // namespace moai
