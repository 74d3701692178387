#include "client/table.h"

#include <algorithm>
#include <array>
#include <ostream>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/utf8.h"

namespace inferd {
namespace {

size_t CodePoints(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) >> 6) != 2; }));
}

}  // namespace

void Table::AddRow(std::vector<std::string> cells) {
  CHECK(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

void Table::Print(std::ostream& out, bool headers) const {
  std::vector<size_t> widths(columns_.size(), 0);
  for (size_t i = 0; i < columns_.size(); ++i) {
    widths[i] = headers ? CodePoints(columns_[i].title) : 0;
    for (const auto& row : rows_) {
      widths[i] = std::max(widths[i], CodePoints(row[i]));
    }
  }
  const auto print_row = [&](const auto& cell_at) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_at(i);
      const std::string padding(widths[i] - CodePoints(cell), ' ');
      line += columns_[i].align == Align::kRight ? padding + cell : cell + padding;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  };
  if (headers) {
    print_row([&](size_t i) -> const std::string& { return columns_[i].title; });
  }
  for (const auto& row : rows_) {
    print_row([&](size_t i) -> const std::string& { return row[i]; });
  }
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"B", "kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) {
    return absl::StrFormat("%d B", bytes);
  }
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f %s", decimals, value, kUnits[unit]);
}

std::string OneLine(std::string_view text, size_t length_max) {
  std::string line;
  size_t length = 0;
  while (!text.empty()) {
    if (length == length_max) {
      return line + "...";
    }
    const size_t size = Utf8CodePointLength(text);
    const auto first = static_cast<unsigned char>(text.front());
    // Also the C1 controls, U+0080 to U+009F.
    const bool control = size == 0 || first < 0x20 || first == 0x7f ||
                         (first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0);
    line += control ? std::string_view("?") : text.substr(0, size);
    text.remove_prefix(std::max<size_t>(size, 1));
    ++length;
  }
  return line;
}

}  // namespace inferd
