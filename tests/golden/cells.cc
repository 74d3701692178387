#include "tests/golden/cells.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "base/file.h"

namespace inferd {
namespace {

constexpr uint64_t kFileBytesMax = uint64_t{256} << 20;

// Little-endian values from a byte string; every read is checked.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  StatusOr<std::vector<T>> Take(size_t count) {
    if (count > bytes_.size() / sizeof(T)) {
      return ErrorF(StatusCode::kDataLoss, "%d values wanted, %d bytes left", count, bytes_.size());
    }
    std::vector<T> values(count);
    std::memcpy(values.data(), bytes_.data(), count * sizeof(T));
    bytes_.remove_prefix(count * sizeof(T));
    return values;
  }
  template <typename T>
  StatusOr<T> TakeOne() {
    ASSIGN_OR_RETURN(const std::vector<T> values, Take<T>(1));
    return values[0];
  }
  Status Expect(std::string_view magic) {
    if (!bytes_.starts_with(magic)) {
      return ErrorF(StatusCode::kDataLoss, "does not start with %s", magic);
    }
    bytes_.remove_prefix(magic.size());
    return OkStatus();
  }
  Status ExpectEnd() const {
    if (!bytes_.empty()) {
      return ErrorF(StatusCode::kDataLoss, "%d bytes too many", bytes_.size());
    }
    return OkStatus();
  }

 private:
  std::string_view bytes_;
};

StatusOr<GoldenSequence> TakeSequence(ByteReader& reader) {
  GoldenSequence sequence;
  ASSIGN_OR_RETURN(const uint32_t n_tokens, reader.TakeOne<uint32_t>());
  ASSIGN_OR_RETURN(sequence.tokens, reader.Take<TokenId>(n_tokens));
  for (uint32_t position = 0; position < n_tokens; ++position) {
    ASSIGN_OR_RETURN(const uint16_t count, reader.TakeOne<uint16_t>());
    if (count == 0) {
      continue;  // not kept
    }
    GoldenCells cells{.position = position, .tokens = {}, .logprobs = {}, .log_rest = 0.0f};
    ASSIGN_OR_RETURN(cells.tokens, reader.Take<TokenId>(count));
    ASSIGN_OR_RETURN(cells.logprobs, reader.Take<float>(count));
    ASSIGN_OR_RETURN(cells.log_rest, reader.TakeOne<float>());
    sequence.cells.push_back(std::move(cells));
  }
  return sequence;
}

StatusOr<std::vector<GoldenSequence>> ParseCells(std::string_view bytes) {
  ByteReader reader(bytes);
  RETURN_IF_ERROR(reader.Expect("INFCELL1"));
  ASSIGN_OR_RETURN(const uint32_t count, reader.TakeOne<uint32_t>());
  std::vector<GoldenSequence> sequences;
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(GoldenSequence sequence, TakeSequence(reader));
    sequences.push_back(std::move(sequence));
  }
  RETURN_IF_ERROR(reader.ExpectEnd());
  return sequences;
}

StatusOr<GoldenLogits> ParseLogits(std::string_view bytes) {
  ByteReader reader(bytes);
  RETURN_IF_ERROR(reader.Expect("INFLOGI1"));
  ASSIGN_OR_RETURN(const uint32_t n_tokens, reader.TakeOne<uint32_t>());
  ASSIGN_OR_RETURN(const uint32_t vocab_size, reader.TakeOne<uint32_t>());
  GoldenLogits logits;
  logits.vocab_size = vocab_size;
  ASSIGN_OR_RETURN(logits.tokens, reader.Take<TokenId>(n_tokens));
  ASSIGN_OR_RETURN(logits.values, reader.Take<float>(size_t{n_tokens} * vocab_size));
  RETURN_IF_ERROR(reader.ExpectEnd());
  return logits;
}

}  // namespace

StatusOr<std::string> ReadGzip(const std::string& path, uint64_t size_bytes_max) {
  ASSIGN_OR_RETURN(const std::string packed, ReadFile(path, size_bytes_max));
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) {
    return ErrorF(StatusCode::kResourceExhausted, "%s: zlib has no memory", path);
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  std::string input = packed;
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  std::string result;
  std::vector<char> chunk(size_t{1} << 20);
  int code = Z_OK;
  while (code == Z_OK && result.size() <= size_bytes_max) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    code = inflate(&stream, Z_NO_FLUSH);
    result.append(chunk.data(), chunk.size() - stream.avail_out);
  }
  if (code != Z_STREAM_END) {
    return ErrorF(
        StatusCode::kDataLoss, "%s: not a gzip file of at most %d bytes", path, size_bytes_max);
  }
  return result;
}

StatusOr<std::vector<GoldenSequence>> ReadCells(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadGzip(path, kFileBytesMax));
  auto sequences = ParseCells(bytes);
  if (!sequences.ok()) {
    return Annotate(sequences.status(), path);
  }
  return sequences;
}

StatusOr<GoldenLogits> ReadLogits(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadGzip(path, kFileBytesMax));
  auto logits = ParseLogits(bytes);
  if (!logits.ok()) {
    return Annotate(logits.status(), path);
  }
  return logits;
}

std::vector<double> LogSoftmax(std::span<const float> logits) {
  const auto peak = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0.0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit) - peak);
  }
  const double log_sum = peak + std::log(sum);
  std::vector<double> logprobs;
  logprobs.reserve(logits.size());
  for (const float logit : logits) {
    logprobs.push_back(static_cast<double>(logit) - log_sum);
  }
  return logprobs;
}

double KlToCells(const GoldenCells& cells, std::span<const float> logits) {
  const std::vector<double> mine = LogSoftmax(logits);
  double kl = 0.0;
  double mine_inside = 0.0;
  for (size_t i = 0; i < cells.tokens.size(); ++i) {
    const double reference = static_cast<double>(cells.logprobs[i]);
    const double own = mine[static_cast<size_t>(cells.tokens[i])];
    kl += std::exp(reference) * (reference - own);
    mine_inside += std::exp(own);
  }
  constexpr double kSmallest = 1e-30;
  const double own_rest = std::log(std::max(1.0 - mine_inside, kSmallest));
  const auto reference_rest = static_cast<double>(cells.log_rest);
  return kl + std::exp(reference_rest) * (reference_rest - own_rest);
}

}  // namespace inferd
