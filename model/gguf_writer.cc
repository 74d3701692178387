#include "model/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "base/check.h"
#include "model/tensor_view.h"

namespace inferd {
namespace {

static_assert(std::endian::native == std::endian::little);

template <typename T>
void Append(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void AppendString(std::string& out, std::string_view text) {
  Append<uint64_t>(out, text.size());
  out.append(text);
}

template <typename T>
std::string Encoded(T value) {
  std::string bytes;
  Append(bytes, value);
  return bytes;
}

std::string ArrayHead(GgufType element, size_t count) {
  std::string bytes;
  Append(bytes, static_cast<uint32_t>(element));
  Append<uint64_t>(bytes, count);
  return bytes;
}

uint64_t Padding(uint64_t size, uint64_t alignment) {
  return (alignment - size % alignment) % alignment;
}

}  // namespace

GgufWriter& GgufWriter::SetRaw(std::string_view key, GgufType type, std::string_view bytes) {
  std::string encoded;
  Append(encoded, static_cast<uint32_t>(type));
  encoded.append(bytes);
  const auto present = std::find_if(
      keys_.begin(), keys_.end(), [key](const Key& other) { return other.name == key; });
  if (present != keys_.end()) {
    present->encoded = std::move(encoded);
  } else {
    keys_.push_back({std::string(key), std::move(encoded)});
  }
  return *this;
}

GgufWriter& GgufWriter::RemoveKey(std::string_view key) {
  std::erase_if(keys_, [key](const Key& other) { return other.name == key; });
  return *this;
}

GgufWriter& GgufWriter::Set(std::string_view key, std::string_view text) {
  std::string bytes;
  AppendString(bytes, text);
  return SetRaw(key, GgufType::kString, bytes);
}

GgufWriter& GgufWriter::Set(std::string_view key, uint32_t value) {
  return SetRaw(key, GgufType::kU32, Encoded(value));
}

GgufWriter& GgufWriter::Set(std::string_view key, float value) {
  return SetRaw(key, GgufType::kF32, Encoded(value));
}

GgufWriter& GgufWriter::Set(std::string_view key, bool value) {
  return SetRaw(key, GgufType::kBool, Encoded(static_cast<uint8_t>(value)));
}

GgufWriter& GgufWriter::Set(std::string_view key, const std::vector<std::string>& values) {
  std::string bytes = ArrayHead(GgufType::kString, values.size());
  for (const std::string& value : values) {
    AppendString(bytes, value);
  }
  return SetRaw(key, GgufType::kArray, bytes);
}

GgufWriter& GgufWriter::Set(std::string_view key, const std::vector<float>& values) {
  std::string bytes = ArrayHead(GgufType::kF32, values.size());
  for (const float value : values) {
    Append(bytes, value);
  }
  return SetRaw(key, GgufType::kArray, bytes);
}

GgufWriter& GgufWriter::Set(std::string_view key, const std::vector<int32_t>& values) {
  std::string bytes = ArrayHead(GgufType::kI32, values.size());
  for (const int32_t value : values) {
    Append(bytes, value);
  }
  return SetRaw(key, GgufType::kArray, bytes);
}

GgufWriter& GgufWriter::Set(std::string_view key, const std::vector<bool>& values) {
  std::string bytes = ArrayHead(GgufType::kBool, values.size());
  for (const bool value : values) {
    Append(bytes, static_cast<uint8_t>(value));
  }
  return SetRaw(key, GgufType::kArray, bytes);
}

GgufWriter& GgufWriter::AddTensor(std::string_view name,
                                  std::vector<uint64_t> dims,
                                  uint32_t ggml_type,
                                  std::string bytes) {
  Tensor tensor;
  tensor.name = name;
  tensor.dims = std::move(dims);
  tensor.ggml_type = ggml_type;
  tensor.size_bytes = bytes.size();
  tensor.bytes = std::move(bytes);
  tensors_.push_back(std::move(tensor));
  return *this;
}

GgufWriter& GgufWriter::AddF32(std::string_view name,
                               int64_t rows,
                               int64_t cols,
                               std::span<const float> values) {
  std::vector<uint64_t> dims = {static_cast<uint64_t>(cols)};
  if (rows > 1) {
    dims.push_back(static_cast<uint64_t>(rows));
  }
  const auto bytes = std::as_bytes(values);
  return AddTensor(name,
                   std::move(dims),
                   Info(QuantFormat::kF32).ggml_type,
                   std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

GgufWriter& GgufWriter::AddRandom(std::string_view name,
                                  int64_t rows,
                                  int64_t cols,
                                  QuantFormat format,
                                  const RandomWeights& weights) {
  Tensor tensor;
  tensor.name = name;
  tensor.dims = {static_cast<uint64_t>(cols)};
  if (rows > 1) {
    tensor.dims.push_back(static_cast<uint64_t>(rows));
  }
  tensor.ggml_type = Info(format).ggml_type;
  tensor.size_bytes = static_cast<uint64_t>(rows * RowBytes(format, cols));
  tensor.format = format;
  tensor.weights = weights;
  tensor.random = true;
  tensors_.push_back(std::move(tensor));
  return *this;
}

std::string GgufWriter::Header() const {
  std::string header = "GGUF";
  Append<uint32_t>(header, 3);
  Append<uint64_t>(header, tensors_.size());
  Append<uint64_t>(header, keys_.size());
  for (const Key& key : keys_) {
    AppendString(header, key.name);
    header += key.encoded;
  }
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    AppendString(header, tensor.name);
    Append(header, static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) {
      Append(header, dim);
    }
    Append(header, tensor.ggml_type);
    Append(header, offset);
    offset += tensor.size_bytes + Padding(tensor.size_bytes, kAlignment);
  }
  header.append(Padding(header.size(), kAlignment), '\0');
  return header;
}

Status GgufWriter::WriteTensor(const Tensor& tensor, const Sink& sink) {
  if (!tensor.random) {
    return sink(tensor.bytes);
  }
  // Pieces of whole blocks, each from a seed of its own.
  const auto block_bytes = static_cast<uint64_t>(Info(tensor.format).block_bytes);
  const uint64_t piece_bytes = (uint64_t{1} << 20) / block_bytes * block_bytes;
  std::string piece;
  for (uint64_t done = 0; done < tensor.size_bytes; done += piece.size()) {
    piece.resize(std::min(piece_bytes, tensor.size_bytes - done));
    RandomWeights weights = tensor.weights;
    weights.seed += done * 0x9e3779b97f4a7c15u;
    FillRandomBlocks(tensor.format, weights, std::as_writable_bytes(std::span(piece)));
    RETURN_IF_ERROR(sink(piece));
  }
  return OkStatus();
}

Status GgufWriter::WriteTo(const Sink& sink) const {
  RETURN_IF_ERROR(sink(Header()));
  for (const Tensor& tensor : tensors_) {
    RETURN_IF_ERROR(WriteTensor(tensor, sink));
    RETURN_IF_ERROR(sink(std::string(Padding(tensor.size_bytes, kAlignment), '\0')));
  }
  return OkStatus();
}

Status GgufWriter::WriteFile(const std::string& path) const {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"),
                                                             std::fclose);
  const auto failed = [&path] {
    return ErrorF(StatusCode::kUnavailable, "%s: cannot write: %s", path, std::strerror(errno));
  };
  if (file == nullptr) {
    return failed();
  }
  RETURN_IF_ERROR(WriteTo([&](std::string_view bytes) {
    const size_t written = std::fwrite(bytes.data(), 1, bytes.size(), file.get());
    return written == bytes.size() ? OkStatus() : failed();
  }));
  return std::fflush(file.get()) == 0 ? OkStatus() : failed();
}

std::string GgufWriter::Bytes() const {
  std::string bytes;
  const Status written = WriteTo([&bytes](std::string_view piece) {
    bytes.append(piece);
    return OkStatus();
  });
  CHECK(written.ok());  // memory takes everything
  return bytes;
}

}  // namespace inferd
