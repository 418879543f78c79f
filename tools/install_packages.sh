#!/usr/bin/env bash
# Installs the Debian packages the build and the tests need. Installs only what is missing, so running it again is quick.
set -euo pipefail

packages=(
  # Compilers. clang is for the thread safety analysis and for libFuzzer; libomp is its OpenMP run time.
  g++ clang-14 libclang-rt-14-dev libomp-14-dev clang-format-14
  # Bazel, and the rule sets it would otherwise download.
  bazel-bootstrap bazel-platforms bazel-rules-java bazel-rules-proto bazel-skylib openjdk-17-jdk-headless
  # Remote procedure calls, wire format.
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  # Libraries.
  libabsl-dev libspdlog-dev libxxhash-dev nlohmann-json3-dev libsqlite3-dev libyaml-cpp-dev
  # CPU kernels.
  libdnnl-dev libhwy-dev
  # Messages between executors.
  libgloo-dev
  # Tests and benchmarks.
  libgtest-dev libgmock-dev libbenchmark-dev
  # Scripts.
  git pkg-config python3
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
  echo "install_packages: all ${#packages[@]} packages are installed"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || {
    echo "install_packages: run as root or install sudo; missing: ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --quiet --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

echo "install_packages: installing ${missing[*]}"
# The package lists may be stale or absent: refresh them only when a plain install fails.
install "${missing[@]}" || {
  "${as_root[@]}" apt-get update --quiet
  install "${missing[@]}"
}
echo "install_packages: done"
