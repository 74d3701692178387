// Names that come from a file, made fit for messages.
#pragma once

#include <string>
#include <string_view>

namespace inferd {

// `text` in double quotes, cut to 80 bytes ("..." then follows), with everything but printable
// ASCII written as \xHH: names in files may hold any bytes, messages may not.
std::string Quoted(std::string_view text);

}  // namespace inferd
