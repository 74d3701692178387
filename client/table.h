// Table: rows of text in aligned columns, for people and for `awk`.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace inferd {

// Columns are separated by two spaces and as wide as their widest cell, counted in code points;
// the last is not padded. Every row has a cell for each column.
class Table {
 public:
  enum class Align : uint8_t { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void AddRow(std::vector<std::string> cells);
  void Print(std::ostream& out, bool headers) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "98.4 MB": three significant digits, decimal units.
std::string FormatBytes(uint64_t bytes);

// `text` on one line: control characters, which could steer a terminal, become "?", and what is
// longer than `length_max` code points ends in "...".
std::string OneLine(std::string_view text, size_t length_max);

}  // namespace inferd
