// Goal: what is packed is what was hashed, whatever is done to the files, and whenever. Method: at
// each step of a load somebody replaces, cuts, extends or overwrites a file by its name, by a hard
// link or through a descriptor; a load that gives the approved digest must give the approved
// weights. RESULT model.toctou_loads counts those that did not (INFERD_TOCTOU_ROUNDS: more rounds).
#include "daemon/model_reading.h"

#include <absl/strings/numbers.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/random.h"
#include "base/sha256.h"
#include "model/model_file.h"
#include "tests/support/random_folder.h"
#include "tests/support/random_model.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

std::string BytesOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// SHA-256 over all tensors of the model as a device would read them.
Digest WeightsOf(const ModelFile& file) {
  Sha256 hash;
  for (const GgufTensor& tensor : file.gguf().tensors()) {
    hash.Update(tensor.name);
    hash.Update(tensor.data);
  }
  return hash.Finish();
}

// A way to change a file behind somebody's back.
enum class Attack : uint8_t {
  kReplace,
  kRenameAway,
  kTruncate,
  kExtend,
  kOverwrite,
  kOverwriteByLink,
  kOverwriteAndBack,
};
constexpr int kAttacks = 7;

// A model on disk that is attacked and put back.
class Target {
 public:
  Target() : path_(folder_ / "model.gguf"), link_(folder_ / "link") {
    RandomModelSpec spec = TinyModel("llama", 7, QuantFormat::kF32);
    spec.vocab_size = (6 << 20) / (4 * spec.d_model);  // 6 MiB of embeddings: several chunks
    EXPECT_TRUE(WriteRandomModel(spec, path_).ok());
    good_ = BytesOf(path_);
    bad_ = good_;
    for (size_t i = bad_.size() / 64; i < bad_.size(); i += 509) {
      bad_[i] = static_cast<char>(bad_[i] ^ 0x21);
    }
    PutBack();
  }

  const std::string& path() const { return path_; }

  void PutBack() {
    fs::remove(path_);
    fs::remove(link_);
    Write(path_, good_);
    fs::create_hard_link(path_, link_);
  }

  void Do(Attack attack) {
    switch (attack) {
      case Attack::kReplace:
        Write(folder_ / "new", bad_);
        fs::rename(folder_ / "new", path_);
        return;
      case Attack::kRenameAway:
        fs::rename(path_, folder_ / "away");
        return;
      case Attack::kTruncate:
        fs::resize_file(link_, good_.size() / 3);
        return;
      case Attack::kExtend:
        fs::resize_file(link_, good_.size() + 4096);
        return;
      case Attack::kOverwrite:
        Write(path_, bad_);
        return;
      case Attack::kOverwriteByLink:
        Write(link_, bad_);
        return;
      case Attack::kOverwriteAndBack:
        Write(link_, bad_);
        Write(link_, good_);
        return;
    }
  }

 private:
  // In place: whoever has the file open sees it.
  static void Write(const std::string& path, const std::string& bytes) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    close(fd);
  }

  TempFolder folder_;
  const std::string path_, link_;
  std::string good_, bad_;
};

class ToctouTest : public ::testing::Test {
 protected:
  ToctouTest() {
    const auto reading = ReadModel(target_.path(), {});
    approved_ = reading->contents;
    const auto file = ModelFile::Open(target_.path());
    weights_ = WeightsOf(**file);
  }

  // A load, with `during` called as it is read and `after` once it is.
  void Load(const std::function<void(uint64_t done)>& during, const std::function<void()>& after) {
    ModelHashOptions options;
    options.progress = [&](uint64_t done, uint64_t) {
      if (during) {
        during(done);
      }
    };
    auto reading = ReadModel(target_.path(), options);
    if (!reading.ok() || reading->contents != approved_) {
      ++refused_;
      return;
    }
    after();
    const auto file = ModelFile::FromBytes(target_.path(), std::move(reading->files));
    if (!file.ok() || WeightsOf(**file) != weights_) {
      ++wrong_;
    }
    ++served_;
  }

  Target target_;
  ModelContents approved_;
  Digest weights_;
  int served_ = 0, refused_ = 0, wrong_ = 0;
};

TEST_F(ToctouTest, ChangesServeNothingElse) {
  const uint64_t total = fs::file_size(target_.path());
  int at_once = 0;
  for (int attack = 0; attack < kAttacks; ++attack) {
    for (uint64_t when = 0; when <= total; when += 1 << 20) {
      std::atomic<bool> done_it{false};
      Load(
          [&](uint64_t done) {
            if (done >= when && !done_it.exchange(true)) {
              target_.Do(static_cast<Attack>(attack));
              ++at_once;
            }
          },
          [] {});
      target_.PutBack();
    }
    Load(nullptr, [&] { target_.Do(static_cast<Attack>(attack)); });
    target_.PutBack();
  }
  EXPECT_GT(at_once, kAttacks * 6);
  EXPECT_GT(refused_, kAttacks);
  EXPECT_GT(served_, kAttacks);
  EXPECT_EQ(wrong_, 0);
}

// The same by somebody who does not wait for us. Each load begins with the good bytes: one that
// finds none shows nothing.
TEST_F(ToctouTest, LoopOfChangesServesNothingElse) {
  const char* const wanted = std::getenv("INFERD_TOCTOU_ROUNDS");
  int rounds = 20;
  ASSERT_TRUE(wanted == nullptr || absl::SimpleAtoi(wanted, &rounds));
  std::atomic<bool> stop{false}, hurry{false}, whole{true};
  std::atomic<int> changes{0};
  std::atomic<uint64_t> steps{0};
  std::thread attacker([&] {
    SplitMix64 random(11);
    for (uint64_t i = 0; !stop; ++i) {
      for (const uint64_t when = steps + random.Below(24); !stop && !hurry && steps < when;) {
        std::this_thread::yield();
      }
      hurry = false;
      whole = false;
      target_.Do(static_cast<Attack>(random.Below(kAttacks)));
      ++changes;
      target_.PutBack();
      whole = true;
    }
  });
  for (int i = 0; i < rounds; ++i) {
    while (!whole) {
      std::this_thread::yield();
    }
    Load([&](uint64_t) { ++steps; },
         [&] {
           // Not before something was changed under what was read.
           for (const int before = changes; changes < before + 2;) {
             hurry = true;
             std::this_thread::yield();
           }
         });
  }
  stop = true;
  attacker.join();
  EXPECT_EQ(wrong_, 0);
  EXPECT_GT(served_, 0);
  EXPECT_EQ(served_ + refused_, rounds);
  std::printf("RESULT model.toctou_loads %d count\n", wrong_);
  std::printf("%d loads, %d refused, %d changes\n", rounds, refused_, changes.load());
}

TEST(ModelReading, ReadsAFolderAndHashesWhatItDoesNotUse) {
  TempFolder folder;
  ASSERT_TRUE(WriteRandomFolder({.shards = 2}, folder.path()).ok());
  const auto before = ReadModel(folder.path(), {});
  ASSERT_TRUE(before.ok()) << before.status();
  const size_t num_used = before->files.size();
  std::ofstream(folder / "README.md") << "read me";
  std::ofstream(folder / "empty") << "";
  uint64_t last = 0;
  ModelHashOptions options;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    last = total;
  };
  auto reading = ReadModel(folder.path(), options);
  ASSERT_TRUE(reading.ok()) << reading.status();
  EXPECT_EQ(reading->contents.files.size(), num_used + 2);
  EXPECT_NE(reading->contents.root, before->contents.root);
  EXPECT_EQ(reading->files.size(), num_used);
  EXPECT_EQ(*HashModelFiles(folder.path(), {}), reading->contents);
  uint64_t total = 0;
  for (const auto& file : reading->contents.files) {
    total += file.bytes;
  }
  EXPECT_EQ(last, total);
  const auto of_bytes = ModelFile::FromBytes(folder.path(), std::move(reading->files));
  const auto mapped = ModelFile::Open(folder.path());
  ASSERT_TRUE(of_bytes.ok() && mapped.ok());
  EXPECT_EQ(WeightsOf(**of_bytes), WeightsOf(**mapped));
  // Nothing is read any more: a tensor's pages are gone once it is packed.
  const TensorView& embedding = (*of_bytes)->weights().token_embedding;
  (*of_bytes)->Release(embedding);
  EXPECT_NE(WeightsOf(**of_bytes), WeightsOf(**mapped));
}

// Memory for a second model that lies beside the first would be as much again.
TEST(ModelReading, KeepsNoWeightsThatTheFolderIsNotMadeOf) {
  for (const int32_t shards : {1, 2}) {
    TempFolder folder;
    ASSERT_TRUE(WriteRandomFolder({.shards = shards}, folder.path()).ok());
    const auto before = ReadModel(folder.path(), {});
    ASSERT_TRUE(before.ok()) << before.status();
    std::ofstream(folder / "consolidated.safetensors") << std::string(3 << 20, 'x');
    const auto names = [](const ModelReading& reading) {
      std::vector<std::string> found;
      for (const ModelBytes& file : reading.files) {
        found.push_back(file.name);
      }
      return found;
    };
    auto reading = ReadModel(folder.path(), {});
    ASSERT_TRUE(reading.ok()) << reading.status();
    EXPECT_EQ(names(*reading), names(*before));
    EXPECT_EQ(*HashModelFiles(folder.path(), {}), reading->contents) << "it is hashed all the same";
    EXPECT_TRUE(ModelFile::FromBytes(folder.path(), std::move(reading->files)).ok());
    if (shards == 1) {
      continue;  // no index
    }
    // An index that may name anything: a name can be written in more than one way.
    std::string index = BytesOf(folder / "model.safetensors.index.json");
    index.insert(1, "\"a\\u0062\":1,");
    std::ofstream(folder / "model.safetensors.index.json") << index;
    reading = ReadModel(folder.path(), {});
    ASSERT_TRUE(reading.ok()) << reading.status();
    EXPECT_EQ(reading->files.size(), before->files.size() + 1);
  }
}

TEST(ModelReading, SaysWhatIsNotThere) {
  EXPECT_EQ(ReadModel("/nonexistent/model.gguf", {}).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace inferd
