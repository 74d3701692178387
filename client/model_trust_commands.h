// `inferctl model digest`, `verify` and `sign`: which bytes a model is and who vouches for them,
// without a daemon.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}  // namespace CLI

namespace inferd {

// One of the three.
struct ModelTrustCommand {
  std::string verb;  // "digest", "verify", "sign"
  std::string path;  // a folder or a file
  std::string signature = "model.sig";
  std::vector<std::string> public_keys;  // PEM files
  std::string authorities;               // a PEM file; "": none
  std::string key;                       // the secret to sign with, a PEM file
  int threads = 2;
};

// Into the noun `model`.
void AddModelTrustCommands(CLI::App& model, ModelTrustCommand& command);

}  // namespace inferd
