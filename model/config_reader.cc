#include "model/config_reader.h"

#include <cmath>

#include "model/printable.h"

namespace inferd {

bool ConfigReader::Has(std::string_view key) const { return gguf_.Find(FullKey(key)) != nullptr; }

const GgufValue* ConfigReader::Take(std::string_view key) {
  std::string full = FullKey(key);
  const GgufValue* value = gguf_.Find(full);
  understood_.insert(std::move(full));
  return value;
}

bool ConfigReader::IsArray(std::string_view key) const {
  const GgufValue* value = gguf_.Find(FullKey(key));
  return value != nullptr && value->type == GgufType::kArray;
}

Status ConfigReader::Absent(std::string_view key) const {
  return ErrorF(StatusCode::kInvalidArgument, "key %s is absent", Quoted(FullKey(key)));
}

Status ConfigReader::CheckRange(std::string_view key, int64_t value, Range range) const {
  if (value >= range.min && value <= range.max) {
    return OkStatus();
  }
  return ErrorF(StatusCode::kInvalidArgument,
                "key %s: %d is not from %d to %d",
                Quoted(FullKey(key)),
                value,
                range.min,
                range.max);
}

StatusOr<int32_t> ConfigReader::Int(std::string_view key, Range range) {
  if (Take(key) == nullptr) {
    return Absent(key);
  }
  ASSIGN_OR_RETURN(const int64_t value, gguf_.GetInt(FullKey(key)));
  RETURN_IF_ERROR(CheckRange(key, value, range));
  return static_cast<int32_t>(value);
}

StatusOr<int32_t> ConfigReader::IntOr(std::string_view key, Range range, int32_t if_absent) {
  if (Take(key) == nullptr) {
    return if_absent;
  }
  return Int(key, range);
}

StatusOr<float> ConfigReader::Float(std::string_view key, double min, double max) {
  if (Take(key) == nullptr) {
    return Absent(key);
  }
  ASSIGN_OR_RETURN(const double value, gguf_.GetFloat(FullKey(key)));
  if (!std::isfinite(value) || value < min || value > max) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "key %s: %g is not from %g to %g",
                  Quoted(FullKey(key)),
                  value,
                  min,
                  max);
  }
  return static_cast<float>(value);
}

StatusOr<float> ConfigReader::FloatOr(std::string_view key,
                                      double min,
                                      double max,
                                      float if_absent) {
  if (Take(key) == nullptr) {
    return if_absent;
  }
  return Float(key, min, max);
}

StatusOr<std::string> ConfigReader::TextOr(std::string_view key) {
  if (Take(key) == nullptr) {
    return std::string();
  }
  ASSIGN_OR_RETURN(const std::string_view text, gguf_.GetString(FullKey(key)));
  return std::string(text);
}

StatusOr<std::vector<int32_t>> ConfigReader::PerLayer(std::string_view key,
                                                      Range range,
                                                      int32_t n_layers) {
  const GgufValue* value = Take(key);
  if (value == nullptr) {
    return std::vector<int32_t>();
  }
  const auto count = static_cast<size_t>(n_layers);
  const auto* array = std::get_if<GgufArray>(&value->value);
  if (array == nullptr) {
    ASSIGN_OR_RETURN(const int32_t all, Int(key, range));
    return std::vector<int32_t>(count, all);
  }
  const auto* signed_values = std::get_if<std::vector<int64_t>>(&array->values);
  const auto* unsigned_values = std::get_if<std::vector<uint64_t>>(&array->values);
  if ((signed_values == nullptr && unsigned_values == nullptr) || array->size() != count) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "key %s: not an integer, nor an array of %d integers",
                  Quoted(FullKey(key)),
                  n_layers);
  }
  std::vector<int32_t> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    // A huge unsigned value turns negative here and fails the range, whose minimum is never below
    // 0.
    const int64_t number = signed_values != nullptr ? (*signed_values)[i]
                                                    : static_cast<int64_t>((*unsigned_values)[i]);
    RETURN_IF_ERROR(CheckRange(key, number, range));
    result.push_back(static_cast<int32_t>(number));
  }
  return result;
}

StatusOr<std::vector<bool>> ConfigReader::BoolPerLayer(std::string_view key, int32_t n_layers) {
  const GgufValue* value = Take(key);
  const auto* array = value == nullptr ? nullptr : std::get_if<GgufArray>(&value->value);
  const auto* flags = array == nullptr ? nullptr : std::get_if<std::vector<bool>>(&array->values);
  if (flags == nullptr || flags->size() != static_cast<size_t>(n_layers)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "key %s: not an array of %d bools",
                  Quoted(FullKey(key)),
                  n_layers);
  }
  return *flags;
}

Status ConfigReader::ExpectInt(std::string_view key, int64_t assumed, std::string_view what) {
  if (Take(key) == nullptr) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const int64_t value, gguf_.GetInt(FullKey(key)));
  if (value != assumed) {
    return ErrorF(StatusCode::kUnimplemented,
                  "key %s is %d: %s is not served",
                  Quoted(FullKey(key)),
                  value,
                  what);
  }
  return OkStatus();
}

Status ConfigReader::ExpectFloat(std::string_view key, double assumed, std::string_view what) {
  if (Take(key) == nullptr) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const double value, gguf_.GetFloat(FullKey(key)));
  if (value != assumed) {
    return ErrorF(StatusCode::kUnimplemented,
                  "key %s is %g: %s is not served",
                  Quoted(FullKey(key)),
                  value,
                  what);
  }
  return OkStatus();
}

Status ConfigReader::ExpectBool(std::string_view key, bool assumed, std::string_view what) {
  if (Take(key) == nullptr) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const bool value, gguf_.GetBool(FullKey(key)));
  if (value != assumed) {
    return ErrorF(StatusCode::kUnimplemented,
                  "key %s is %s: %s is not served",
                  Quoted(FullKey(key)),
                  value ? "true" : "false",
                  what);
  }
  return OkStatus();
}

Status ConfigReader::CheckAllUnderstood() const {
  for (auto it = gguf_.metadata().lower_bound(prefix_);
       it != gguf_.metadata().end() && it->first.substr(0, prefix_.size()) == prefix_;
       ++it) {
    if (!understood_.contains(it->first)) {
      return ErrorF(StatusCode::kUnimplemented, "key %s is not understood", Quoted(it->first));
    }
  }
  return OkStatus();
}

}  // namespace inferd
