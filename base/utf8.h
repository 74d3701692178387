// UTF-8 (RFC 3629): validity, and how much of a byte string is whole.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace inferd {

// True for well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsValidUtf8(std::string_view text);

// Length in bytes of the well-formed code point at the start of `text`; 0 if there is none.
size_t Utf8CodePointLength(std::string_view text);

// True if `text` could become a well-formed code point when more bytes follow: a proper prefix.
bool IsUtf8Prefix(std::string_view text);

// The start of well-formed `text`, at most bytes_max long, that ends with a whole code point.
std::string_view Utf8Prefix(std::string_view text, size_t bytes_max);

// `text` with each maximal ill-formed part replaced by U+FFFD (Unicode 15, section 3.9).
std::string ReplaceInvalidUtf8(std::string_view text);

}  // namespace inferd
