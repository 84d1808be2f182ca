// SPDX-License-Identifier: MIT
// Stands in for libFuzzer where it is not: runs the seeds in the directories given, each seed cut at every length, and
// mutations of it from a fixed generator, so that every run of the suite sees the same inputs.
#include <algorithm>
#include <boost/filesystem.hpp>
#include <boost/filesystem/fstream.hpp>
#include <iterator>
#include <random>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

namespace fs = boost::filesystem;

constexpr int kMutationsPerSeed = 2000;
constexpr std::size_t kMostCuts = 2000;

void run_once(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

std::string mutated(std::string bytes, std::mt19937_64& random) {
  static constexpr unsigned char kTelling[] = {0, 1, 0x7f, 0x80, 0xff, '\n', '"', '{', '-', '9'};
  for (std::uint64_t changes = 1 + random() % 4; changes > 0 && !bytes.empty(); --changes) {
    const std::size_t at = random() % bytes.size();
    const std::size_t length = std::min<std::size_t>(1 + random() % 16, bytes.size() - at);
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<char>(kTelling[random() % std::size(kTelling)]);
        break;
      case 2:
        bytes.erase(at, length);
        break;
      case 3:
        bytes.insert(at, bytes.substr(random() % bytes.size(), length));
        break;
      default:
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length, '\0');
        break;
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> seeds = {""};
  for (int i = 1; i < argc; ++i) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(argv[i])) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
      fs::ifstream file(path, std::ios::binary);
      seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  allot::fuzz::require(seeds.size() > 1, "there is a seed");

  std::mt19937_64 random(20'250'101);
  std::uint64_t runs = 0;
  for (const std::string& seed : seeds) {
    const std::size_t cuts = std::min(seed.size(), kMostCuts);
    for (std::size_t length = 0; length <= cuts; ++length, ++runs) run_once(seed.substr(0, length));
    for (int i = 0; i < kMutationsPerSeed; ++i, ++runs) run_once(mutated(seed, random));
  }
  std::printf("%llu inputs from %zu seeds\n", static_cast<unsigned long long>(runs), seeds.size() - 1);
  return 0;
}
