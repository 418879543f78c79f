"""The build rules of this project: thin wrappers that give every target the same compiler options.

Labels are private unless a target says otherwise; //:BUILD.bazel defines who may see which folder.
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

_COPTS = [
    "-std=c++20",
]

_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    # Designated initializers leave fields to their defaults on purpose.
    "-Wno-missing-field-initializers",
    # g++ 12 reports these in correct code that uses std::string, std::optional or absl::StatusOr.
    "-Wno-restrict",
    "-Wno-maybe-uninitialized",
    # Clang does not know the two above.
    "-Wno-unknown-warning-option",
]

_OPENMP = "//third_party:openmp"

def _copts(deps, copts):
    openmp = ["-fopenmp"] if type(deps) == "list" and _OPENMP in deps else []
    return _COPTS + _WARNINGS + openmp + copts

def moai_cc_library(name, deps = [], copts = [], **kwargs):
    """A cc_library. Takes every attribute of cc_library."""
    cc_library(
        name = name,
        copts = _copts(deps, copts),
        # One static archive per library: a shared one besides would double the link work of every build.
        linkstatic = True,
        deps = deps,
        **kwargs
    )

def moai_cc_binary(name, deps = [], copts = [], **kwargs):
    """A cc_binary. Takes every attribute of cc_binary."""
    cc_binary(
        name = name,
        copts = _copts(deps, copts),
        deps = deps,
        **kwargs
    )

def moai_cc_test(name, deps = [], copts = [], data = [], main = True, size = "small", **kwargs):
    """A cc_test with GoogleTest and GoogleMock.

    Args:
      main: link GoogleTest's main(); False for a test that brings its own.
      size: Bazel's test size; small has a time limit of one minute.
    """
    cc_test(
        name = name,
        size = size,
        copts = _copts(deps, copts),
        data = data + ["//tools/sanitizers:suppressions"],
        linkstatic = True,
        deps = deps + ["//third_party:gtest_main" if main else "//third_party:gtest"],
        **kwargs
    )

def moai_cc_fuzz_test(name, corpus = [], deps = [], copts = [], data = [], **kwargs):
    """A libFuzzer target: srcs define LLVMFuzzerTestOneInput.

    A test that runs each file of the corpus once. Under --config=fuzz it is the fuzzer, and a folder for the corpus may follow:
        tools/bazel run --config=fuzz //folder:name -- -runs=-1 -max_total_time=60 $PWD/folder/corpus

    Args:
      corpus: files to start from, and to replay.
    """
    cc_test(
        name = name,
        size = "small",
        args = select({
            "//tools:fuzz": ["-runs=0"],
            "//conditions:default": ["$(location %s)" % file for file in corpus],
        }),
        copts = _copts(deps, copts),
        data = data + corpus + ["//tools/sanitizers:suppressions"],
        linkopts = select({
            "//tools:fuzz": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        linkstatic = True,
        deps = deps + select({
            "//tools:fuzz": [],
            "//conditions:default": ["//tools/fuzz:replay_main"],
        }),
        **kwargs
    )

def _sources_of(label):
    if ":" not in label:
        label = label + ":" + label.split("/")[-1]
    return label + "_sources"

def moai_proto_library(name, srcs, deps = [], grpc = False, visibility = None, testonly = False):
    """C++ code for .proto files, as a library to put into the deps of C++ targets.

    Files import each other by their path from the workspace root: import "proto/graph.proto"; and C++ includes
    "proto/graph.pb.h" and, for services, "proto/graph.grpc.pb.h".

    Args:
      srcs: .proto files of this package.
      deps: other moai_proto_library targets that srcs import.
      grpc: also generate gRPC services and link gRPC.
    """
    native.filegroup(
        name = name + "_sources",
        testonly = testonly,
        srcs = srcs + [_sources_of(dep) for dep in deps],
        visibility = visibility,
    )

    headers = []
    sources = []
    for src in srcs:
        if not src.endswith(".proto"):
            fail("moai_proto_library %s: %s is not a .proto file" % (name, src))
        stem = src[:-len(".proto")]
        for kind in [".pb", ".grpc.pb"] if grpc else [".pb"]:
            headers.append(stem + kind + ".h")
            sources.append(stem + kind + ".cc")

    command = "protoc -I. -I/usr/include --cpp_out=$(GENDIR)"
    if grpc:
        command += " --grpc_out=generate_mock_code=false:$(GENDIR)"
        command += " --plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin)"
    native.genrule(
        name = name + "_generate",
        testonly = testonly,
        srcs = srcs + [_sources_of(dep) for dep in deps],
        outs = headers + sources,
        cmd = command + "".join([" $(execpath %s)" % src for src in srcs]),
        message = "Generating C++ from protocol buffers",
        visibility = ["//visibility:private"],
    )

    cc_library(
        name = name,
        testonly = testonly,
        srcs = sources,
        hdrs = headers,
        copts = _COPTS + ["-w"],
        linkstatic = True,
        visibility = visibility,
        deps = deps + ["//third_party:grpc" if grpc else "//third_party:protobuf"],
    )
