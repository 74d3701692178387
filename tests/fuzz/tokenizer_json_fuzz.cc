// What opening a folder does with a stranger's JSON: the bytes up to a NUL are tokenizer.json,
// those behind it tokenizer_config.json; all of it is read as config.json, too. A vocabulary that
// is accepted must make a tokenizer or be refused by it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/folder_config.h"
#include "model/tokenizer_json.h"
#include "text/tokenizer.h"

namespace inferd {
namespace {

void CheckPromises(const VocabularySpec& vocabulary) {
  CHECK(vocabulary.types.size() == vocabulary.tokens.size());
  CHECK(!vocabulary.merges.empty());
  for (const auto& id :
       {vocabulary.bos, vocabulary.eos, vocabulary.eot, vocabulary.unk, vocabulary.pad}) {
    CHECK(!id || (*id >= 0 && *id < vocabulary.size()));
  }
  CHECK(!vocabulary.add_bos || vocabulary.bos);
}

void Exercise(std::string_view bytes) {
  const size_t end = bytes.find('\0');
  const std::string_view config =
      end == std::string_view::npos ? std::string_view() : bytes.substr(end + 1);
  const auto vocabulary = ReadTokenizerJson(
      {.tokenizer_json = bytes.substr(0, end), .tokenizer_config = config, .chat_template = {}});
  if (vocabulary.ok()) {
    CheckPromises(*vocabulary);
    if (const auto tokenizer = Tokenizer::Create(*vocabulary); tokenizer.ok()) {
      (void)(*tokenizer)->Encode("a b 12", SpecialTokens::kParse);
    }
  }
  const auto folder = ReadFolderConfig(bytes, {});
  CHECK(!folder.ok() || folder->rope_factors.size() <= 512);
}

}  // namespace
}  // namespace inferd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  inferd::Exercise({reinterpret_cast<const char*>(data), size});
  return 0;
}
